#include <filesystem>
#include <string_view>

#include "base/file.h"
#include "base/warn.h"
#include "formats/gguf.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "text/tokenizer/gguf_vocab.h"
#include "text/tokenizer/llama2c_vocab.h"
#include "text/tokenizer/load_spec.h"
#include "text/tokenizer/pipeline_tokenizer.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_json.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

constexpr const char* kGgufVocab = "tokenizer.ggml.model";

bool IsGguf(const std::string& file) {
  const auto mapped = MappedFile::Open(file);
  const auto bytes = mapped->bytes();
  return bytes.size() >= 4 &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) == "GGUF";
}

[[noreturn]] void FailWithoutTokenizer(const std::string& model_path) {
  throw Error({.function = "LoadTokenizer",
               .problem = "the model has no tokenizer",
               .expected = "tokenizer.json, tokenizer.model, vocab.json, a GGUF vocabulary or "
                           "tok*.bin",
               .file = model_path,
               .field = {}});
}

}  // namespace

std::string FindTokenizerFile(const std::string& model_path) {
  const fs::path path(model_path);
  if (IsDirectory(path)) {
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
      if (IsRegularFile(path / name)) return (path / name).string();
    }
    return {};
  }
  if (IsGguf(model_path)) {
    return GgufFile::Open(model_path).Has(kGgufVocab) ? model_path : std::string();
  }
  const std::string name = path.filename().string();
  if (name == "config.json") return FindTokenizerFile(fs::absolute(path).parent_path().string());
  if (path.extension() == ".bin" && !name.starts_with("tok")) return FindLlama2cVocab(model_path);
  return model_path;
}

void NoteMissingTokenizer(const std::string& model_path) {
  Note("note: " + model_path +
       " has no tokenizer, and neither has what is written from it; llama.cpp refuses a GGUF file "
       "without one");
}

TokenizerSpec LoadTokenizerSpec(const std::string& tokenizer_file) {
  const fs::path path(tokenizer_file);
  const std::string directory = fs::absolute(path).parent_path().string();
  if (IsGguf(tokenizer_file)) return ReadGgufVocab(GgufFile::Open(tokenizer_file));
  if (path.extension() == ".bin") return ReadLlama2cVocab(tokenizer_file);
  TokenizerSpec spec;
  bool has_frame = false;
  if (path.extension() == ".model") {
    spec = ReadSentencePieceModel(tokenizer_file);
  } else if (path.filename() == "vocab.json") {
    spec = ReadVocabAndMerges(tokenizer_file, (fs::path(directory) / "merges.txt").string());
    ChooseWords(directory, spec);
  } else if (path.extension() == ".json") {
    spec = ReadTokenizerJson(tokenizer_file);
    has_frame = true;
  } else {
    throw Error({.function = "LoadTokenizer",
                 .problem = "not a tokenizer",
                 .expected = "a .json, .model, .bin or .gguf file",
                 .file = tokenizer_file,
                 .field = {}});
  }
  ReadTokenizerConfig(directory, has_frame, spec);
  return spec;
}

std::shared_ptr<const Tokenizer> LoadTokenizer(const std::string& model_path) {
  if (!IsDirectory(model_path) && IsGguf(model_path)) {  // opened once
    const GgufFile gguf = GgufFile::Open(model_path);
    if (!gguf.Has(kGgufVocab)) FailWithoutTokenizer(model_path);
    return MakeTokenizer(ReadGgufVocab(gguf));
  }
  const std::string file = FindTokenizerFile(model_path);
  if (file.empty()) FailWithoutTokenizer(model_path);
  return MakeTokenizer(LoadTokenizerSpec(file));
}

}  // namespace rondo
