#include "text/tokenizer/word_piece.h"

#include <string>

#include "text/unicode/utf8.h"

namespace rondo {
namespace {

bool IsInsideCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

bool HasMoreCharacters(std::string_view word, int limit) {
  int count = 0;
  for (const char byte : word) count += IsInsideCharacter(byte) ? 0 : 1;
  return count > limit;
}

}  // namespace

class WordPieceEncoder final : public WordEncoder {
 public:
  WordPieceEncoder(const TokenModel& model, const TextToId& ids, std::vector<int32_t>& out)
      : model_(model), ids_(ids), out_(out) {}

  // A word with a part that no token begins is unknown as a whole.
  void Encode(std::string_view word) override {
    const size_t before = out_.size();
    bool known = !HasMoreCharacters(word, model_.longest_word);
    for (size_t begin = 0; known && begin < word.size();) {
      size_t end = word.size();
      int32_t id = -1;
      while (end > begin && (id = Find(word, begin, end)) < 0) {
        do {
          --end;
        } while (end > begin && IsInsideCharacter(word[end]));
      }
      known = id >= 0;
      if (known) out_.push_back(id);
      begin = end;
    }
    if (known) return;
    out_.resize(before);
    if (model_.unknown >= 0) out_.push_back(model_.unknown);
  }

 private:
  int32_t Find(std::string_view word, size_t begin, size_t end) {
    const std::string_view part = word.substr(begin, end - begin);
    if (begin == 0) return ids_.Find(part);
    joined_.assign(model_.subword_prefix).append(part);
    return ids_.Find(joined_);
  }

  const TokenModel& model_;
  const TextToId& ids_;
  std::vector<int32_t>& out_;
  std::string joined_;
};

WordPiece::WordPiece(const TokenModel& model) : model_(model), ids_(model.tokens.size()) {
  for (size_t i = 0; i < model.tokens.size(); ++i) {
    if (!model.tokens[i].empty()) ids_.Insert(model.tokens[i], static_cast<int32_t>(i));
  }
}

std::unique_ptr<WordEncoder> WordPiece::Start(std::vector<int32_t>& out, size_t) const {
  return std::make_unique<WordPieceEncoder>(model_, ids_, out);
}

}  // namespace rondo
