// What every tokenizer does with any text, whatever vocabulary it was read from.
#pragma once

#include <utility>
#include <vector>

#include "fuzz/input.h"
#include "rondo/tokenizer.h"
#include "text/tokenizer/pipeline_tokenizer.h"

namespace rondo::fuzz {

inline void UseTokenizer(TokenizerSpec spec) {
  const auto tokenizer = MakeTokenizer(std::move(spec));
  constexpr std::string_view kTexts[] = {"", "  Hello world 123 a\n",
                                         "\xC3\xA9\xE2\x96\x81\xF0\x9F\x98\x80 it's",
                                         "\xFF\xC3<s></s>[UNK]"};
  for (const std::string_view text : kTexts) {
    const std::vector<int32_t> ids = tokenizer->Encode(text);
    for (const int32_t id : ids) {
      Require(id >= 0 && id < tokenizer->vocab_size(), "tokens are of the vocabulary");
    }
    const std::string decoded = tokenizer->Decode(ids, false);
    StreamDecoder stream(*tokenizer, false);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.Push(id);
    Require(streamed + stream.Flush() == decoded, "a stream decodes as the whole does");
  }
  const std::vector<ChatMessage> messages = {{"user", "Hi"}};
  Refusable([&] { tokenizer->ApplyChatTemplate(messages); });
}

}  // namespace rondo::fuzz
