// What cuts words into tokens: byte-pair encoding, Unigram or WordPiece.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Encodes the words of one text.
class WordEncoder {
 public:
  virtual ~WordEncoder() = default;
  // `word` must stay where it is until the next ForgetWords() or the end.
  virtual void Encode(std::string_view word) = 0;
  // The memory of earlier words is about to change.
  virtual void ForgetWords() {}
};

class WordModel {
 public:
  virtual ~WordModel() = default;
  // Ids are appended to `out`, which nobody else may shorten meanwhile. A text of `text_bytes` is
  // to come.
  virtual std::unique_ptr<WordEncoder> Start(std::vector<int32_t>& out,
                                             size_t text_bytes) const = 0;
};

// `model` must outlive the object. With `byte_level`, words are raw bytes and the tokens are in
// GPT-2's byte alphabet; otherwise words are UTF-8 text.
std::unique_ptr<const WordModel> MakeWordModel(const TokenModel& model, bool byte_level);

}  // namespace rondo
