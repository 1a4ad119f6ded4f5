// Writing text: sampling one token after another until something says stop.
//
//   KvCache cache = engine.NewCache(1024);
//   GenerateOptions options{.max_new_tokens = 64, .stop = {"\n\n"}};
//   options.sampling = {.temperature = 0.7f, .top_p = 0.9f, .seed = 1};
//   Generation out = Generate(engine, *tokenizer, cache, tokenizer->Encode("Once upon"), options,
//                             [](std::string_view text) { std::cout << text; return true; });
//
// The same seed, options and model give the same text. A Sampler belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/engine.h"
#include "rondo/tokenizer.h"

namespace rondo {

// Applied in the order of the fields, which is that of Hugging Face's generate: penalty,
// temperature, top-k, top-p, min-p; each filter sees the probabilities that the one before left. At
// least one token always remains.
struct SamplingOptions {
  // Logits of tokens seen before are divided by it when positive, multiplied when negative (Keskar
  // et al., "CTRL", 2019). 1: off.
  float repetition_penalty = 1;
  int repetition_window = 0;  // how many last tokens count as seen; 0: all, prompt included
  float temperature = 0;      // 0: greedy, the token with the largest logit (lowest id of equals)
  int top_k = 0;              // keep the k most probable (and equals of the last); 0: off
  float top_p = 1;            // keep the fewest tokens whose probabilities reach p; 1: off
  float min_p = 0;            // keep tokens at least this fraction as probable as the first; 0: off
  uint64_t seed = 0;
};

// Draws tokens and remembers them for the repetition penalty.
class Sampler {
 public:
  // `seen` are the tokens before the first drawn one. Throws naming the option out of range.
  explicit Sampler(const SamplingOptions& options, std::span<const int32_t> seen = {});
  ~Sampler();
  // Throws when a logit is not a number.
  int32_t Sample(std::span<const float> logits);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Cuts text at the first stop string. Text that may still turn into one is held back, so no part of
// a stop string is ever given out, wherever the pieces break.
class StopMatcher {
 public:
  // Throws on an empty stop string.
  explicit StopMatcher(std::vector<std::string> stops);
  // Text that is certain not to belong to a stop string.
  std::string Push(std::string_view piece);
  bool stopped() const { return stopped_; }
  // What was held back; empty after a stop.
  std::string Flush();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

struct GenerateOptions {
  SamplingOptions sampling;
  int max_new_tokens = 256;
  std::vector<std::string> stop;  // texts that end generation; not part of the output
  bool ignore_eos = false;        // end-of-sequence tokens do not end it
};

enum class StopReason { kLength, kEos, kStopString, kCallback };

struct Generation {
  std::vector<int32_t> tokens;  // drawn, including the end-of-sequence token
  std::string text;             // decoded without special tokens and stop string
  StopReason reason = StopReason::kLength;
  double prefill_seconds = 0;
  double decode_seconds = 0;  // of all steps after the first token
};

// Called with each piece of text as soon as it is certain, always whole UTF-8 characters. Returning
// false ends the generation.
using TextCallback = std::function<bool(std::string_view text)>;

// Appends `prompt` to the cached sequence and writes on, until max_new_tokens, a full cache, a stop
// string or an end-of-sequence token (the model's or the tokenizer's). Afterwards the cache holds
// everything but the last drawn token. Throws when prompt is empty or does not fit.
Generation Generate(const Engine& engine, const Tokenizer& tokenizer, KvCache& cache,
                    std::span<const int32_t> prompt, const GenerateOptions& options,
                    const TextCallback& callback = {});

}  // namespace rondo
