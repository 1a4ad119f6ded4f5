// From texts to the tokens that a model is fed and asked for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/task_record.h"
#include "rondo/tokenizer.h"

namespace rondo {

// Logits at the last targets.size() positions of `input` predict `targets`.
struct TokenRow {
  std::vector<int32_t> input;    // context and continuation without its last token
  std::vector<int32_t> targets;  // the continuation; never empty
};

// Rows of one example, which mostly begin alike.
using TokenRows = std::vector<TokenRow>;

// Tokens of contexts and continuations as lm-evaluation-harness takes them (TemplateLM._encode_pair
// and HFLM._loglikelihood_tokens): white space at the context's end goes to the continuation; the
// continuation's tokens are those of the whole text that come after as many as the context alone
// has; an empty context is the token that begins a text; what is longer than the model's positions
// is cut at its beginning.
class PairEncoder {
 public:
  // The tokenizer must outlive it.
  PairEncoder(const Tokenizer& tokenizer, int max_positions);
  // Throws rondo::Error when a continuation has no token of its own or more than the model has
  // positions.
  TokenRows Encode(std::span<const ContinuationText> requests);

 private:
  TokenRow EncodePair(const ContinuationText& request);
  TokenRow EncodeWithoutContext(const std::string& continuation) const;
  std::vector<int32_t> EncodeText(const std::string& text) const;

  const Tokenizer& tokenizer_;
  size_t max_positions_;
  int32_t prefix_;  // the token that begins a text
  std::string prefix_text_;
  std::string context_;  // tokenised last: the choices of an example share it
  size_t context_tokens_ = 0;
};

}  // namespace rondo
