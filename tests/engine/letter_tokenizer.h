// A tokenizer without a file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rondo/tokenizer.h"

namespace rondo {

// Letters a, b, c, … as tokens 0, 1, 2, …
class LetterTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(c - 'a');
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += static_cast<char>('a' + id);
    return text;
  }
  std::unique_ptr<TokenStream> StartDecode(bool, std::span<const int32_t>) const override {
    struct Stream : TokenStream {
      std::string Push(int32_t id) override { return std::string(1, static_cast<char>('a' + id)); }
      std::string Flush() override { return {}; }
    };
    return std::make_unique<Stream>();
  }
  int32_t vocab_size() const override { return 26; }
  int32_t bos() const override { return -1; }
  std::vector<int32_t> eos() const override { return {25}; }
  int32_t TokenId(std::string_view token) const override { return token[0] - 'a'; }
  bool IsSpecial(int32_t) const override { return false; }
  std::string ApplyChatTemplate(std::span<const ChatMessage>, bool) const override { return {}; }
  bool HasChatTemplate() const override { return false; }
};

}  // namespace rondo
