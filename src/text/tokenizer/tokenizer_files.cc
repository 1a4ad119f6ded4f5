#include <array>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "text/tokenizer/load_spec.h"
#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_json.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

constexpr std::array kFiles = {"tokenizer.json",     "tokenizer_config.json",
                               "tokenizer.model",    "special_tokens_map.json",
                               "added_tokens.json",  "vocab.json",
                               "merges.txt",         "chat_template.jinja",
                               "chat_template.json", "generation_config.json"};

void CopyFile(const fs::path& from, const fs::path& to) {
  AtomicFile out(to.string());
  const auto file = MappedFile::Open(from.string());
  out.Write(file->bytes().data(), file->bytes().size());
  out.Commit();
}

}  // namespace

void WriteTokenizerFiles(const std::string& model_path, const std::string& directory) {
  const std::string source = FindTokenizerFile(model_path);
  if (source.empty()) {
    NoteMissingTokenizer(model_path);
    return;
  }
  const fs::path target(directory);
  const fs::path folder = fs::absolute(source).parent_path();
  const std::string extension = fs::path(source).extension().string();
  if (extension == ".json" || extension == ".model") {
    for (const char* name : kFiles) {
      if (IsRegularFile(folder / name)) CopyFile(folder / name, target / name);
    }
  }
  if (extension == ".json") return;
  // tokenizer.model comes with a tokenizer.json too, for programs that read nothing else.
  const TokenizerSpec spec = LoadTokenizerSpec(source);
  CheckSpec(spec);
  WriteTextFile(target / "tokenizer.json", WriteTokenizerJson(spec));
  if (!PathExists(target / "tokenizer_config.json")) {
    WriteTextFile(target / "tokenizer_config.json", WriteTokenizerConfig(spec));
  }
  // The only place where transformers looks for more than one end token.
  if (spec.eos.size() > 1 && !PathExists(target / "generation_config.json")) {
    WriteTextFile(target / "generation_config.json", WriteGenerationConfig(spec));
  }
}

}  // namespace rondo
