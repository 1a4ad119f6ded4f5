#include "text/tokenizer/llama2c_vocab.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "rondo/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

constexpr int32_t kUnknown = 0;
constexpr int32_t kBos = 1;
constexpr int32_t kEos = 2;

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file), bytes_(ReadTextFile(file)) {}

  bool AtEnd() const { return at_ == bytes_.size(); }

  template <typename T>
  T Read() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view Take(size_t count) {
    if (count > bytes_.size() - at_) Fail("truncated");
    at_ += count;
    return std::string_view(bytes_).substr(at_ - count, count);
  }

  [[noreturn]] void Fail(const std::string& problem) const {
    throw Error({.function = "ReadLlama2cVocab",
                 .problem = problem,
                 .expected = "a llama2.c vocabulary",
                 .file = file_,
                 .field = "byte " + std::to_string(at_)});
  }

 private:
  const std::string& file_;
  std::string bytes_;
  size_t at_ = 0;
};

// The vocabulary size in a llama2.c model header; 0 if the file is too short.
int32_t ModelVocabSize(const std::string& model_file) {
  constexpr size_t kHeaderInts = 7;
  constexpr size_t kVocabIndex = 5;
  const auto file = MappedFile::Open(model_file);
  if (file->bytes().size() < kHeaderInts * sizeof(int32_t)) return 0;
  int32_t header[kHeaderInts];
  std::memcpy(header, file->bytes().data(), sizeof(header));
  constexpr int32_t kMost = 1 << 24;  // negative: the classifier is not tied to the embedding
  const int32_t size = header[kVocabIndex];
  return size > -kMost && size < kMost ? std::abs(size) : 0;
}

}  // namespace

TokenizerSpec ReadLlama2cVocab(const std::string& file) {
  Reader reader(file);
  TokenizerSpec spec;
  spec.file = file;
  const auto longest = reader.Read<int32_t>();
  if (longest <= 0 || longest > 1 << 16) reader.Fail("longest token " + std::to_string(longest));
  TokenModel& model = spec.model;
  while (!reader.AtEnd()) {
    const auto score = reader.Read<float>();
    const auto length = reader.Read<int32_t>();
    if (length < 0 || length > longest)
      reader.Fail("token of " + std::to_string(length) + " bytes");
    const auto id = static_cast<int32_t>(model.tokens.size());
    std::string token(reader.Take(static_cast<size_t>(length)));
    TokenType type = ParseByteToken(token) ? TokenType::kByte : TokenType::kNormal;
    if (id == kUnknown) type = TokenType::kUnknown;
    // The export surrounds these with newlines, and has spaces where the vocabulary had metaspaces.
    if (id == kBos || id == kEos) {
      type = TokenType::kControl;
      token = id == kBos ? "<s>" : "</s>";
    }
    model.tokens.push_back(ReplaceAll(token, " ", kMetaspace));
    model.scores.push_back(score);
    model.types.push_back(type);
  }
  if (model.tokens.size() <= kEos) reader.Fail("fewer than three tokens");
  spec.bos = kBos;
  spec.eos = {kEos};
  spec.unknown = model.unknown = kUnknown;
  model.byte_fallback =
      std::find(model.types.begin(), model.types.end(), TokenType::kByte) != model.types.end();
  FinishSentencePiece({}, spec);
  return spec;
}

std::string FindLlama2cVocab(const std::string& model_file) {
  const auto size = static_cast<size_t>(ModelVocabSize(model_file));
  const fs::path folder = fs::absolute(model_file).parent_path();
  for (const std::string extension : {".bin", ".model"}) {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("tok") && entry.path().extension() == extension) {
        found.push_back(entry.path().string());
      }
    }
    std::sort(found.begin(), found.end());
    for (const std::string& file : found) {
      const TokenizerSpec spec =
          extension == ".bin" ? ReadLlama2cVocab(file) : ReadSentencePieceModel(file);
      if (spec.model.tokens.size() == size) return file;
    }
  }
  return {};
}

}  // namespace rondo
