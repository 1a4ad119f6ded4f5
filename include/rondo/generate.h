// Writing text: sampling one token after another until something says stop.
//
//   GenerateOptions options{.max_new_tokens = 64, .stop = {"\n\n"}};
//   options.sampling = {.temperature = 0.7f, .top_p = 0.9f, .seed = 1};
//   Generation out = Generate(engine, *tokenizer, tokenizer->Encode("Once upon"), options,
//                             [](std::string_view text) { std::cout << text; return true; });
//
// The same seed, options and model give the same text. Generate() may run in any number of threads
// on one engine; a Sampler or a StopMatcher belongs to one.
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

// The tokens that may come next, with their probabilities. Greedy sampling leaves one.
struct TokenProbability {
  int32_t token = 0;
  double probability = 0;
};
using TokenDistribution = std::vector<TokenProbability>;

// Draws tokens and remembers them for the repetition penalty.
class Sampler {
 public:
  // `seen` are the tokens before the first drawn one. Throws naming the option out of range.
  explicit Sampler(const SamplingOptions& options, std::span<const int32_t> seen = {});
  ~Sampler();
  // Distribute, Draw and Remember in one. Throws when a logit is not a number.
  int32_t Sample(std::span<const float> logits);

  // What the options leave of softmax(logits), given the tokens seen. Throws when a logit is not a
  // number.
  TokenDistribution Distribute(std::span<const float> logits) const;
  int32_t Draw(const TokenDistribution& distribution);
  void Remember(int32_t token);
  void Forget(size_t tokens);  // the last remembered ones

  // Speculative sampling (Leviathan et al., "Fast Inference from Transformers via Speculative
  // Decoding", ICML 2023): given a token drawn from `draft`, returns it with probability
  // min(1, target / draft), otherwise one drawn from max(0, target − draft). The outcome is
  // distributed as `target`.
  int32_t Verify(int32_t token, const TokenDistribution& draft, const TokenDistribution& target);

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

// When a token leaves the loops of a tied model early. The rules look at a token after each loop.
enum class ExitRule {
  kNever,
  kConfidence,    // the most probable token has at least probability `threshold`
  kEntropy,       // the entropy of the next token is at most `threshold` nats
  kHiddenChange,  // the last loop changed the hidden state by at most `threshold` of its norm
  kGate,          // the model's learned gate gives at least probability `threshold`
  kTrace,         // token i leaves after trace[i % size] loops: recorded exits, for measurements
};
std::string_view Name(ExitRule rule);  // never, confidence, entropy, hidden-change, gate, trace
ExitRule ExitRuleFromName(std::string_view name);

// What later tokens find as keys and values of the loops that a token left out.
enum class SkippedKv {
  kDeferred,     // computed as soon as a later token goes that deep: exact
  kCopyThrough,  // the exit's hidden state through the keys' and values' projections
  kLastLoop,     // those of the last loop that was run
};
std::string_view Name(SkippedKv policy);  // deferred, copy-through, last-loop
SkippedKv SkippedKvFromName(std::string_view name);

struct ExitOptions {
  ExitRule rule = ExitRule::kNever;
  float threshold = 0;
  int min_loops = 1;
  int max_loops = 0;  // loops of every token, prompt included; 0: all that the model has
  SkippedKv skipped_kv = SkippedKv::kDeferred;
  std::vector<uint8_t> trace = {};
};

// Self-speculation: tokens are drafted by the first loops, then all verified by the others in one
// pass. Greedy output is that of plain decoding, sampled output is distributed like it.
struct SpeculationOptions {
  int drafts = 0;  // tokens drafted ahead; 0: off
  int draft_loops = 1;
};

struct GenerateOptions {
  SamplingOptions sampling = {};
  int max_new_tokens = 256;
  int max_positions = 0;               // prompt and new tokens together; 0: what the model allows
  std::vector<std::string> stop = {};  // texts that end generation; not part of the output
  bool ignore_eos = false;             // end-of-sequence tokens do not end it
  ExitOptions exit = {};
  SpeculationOptions speculation = {};
};

enum class StopReason { kLength, kEos, kStopString, kCancelled, kError };
std::string_view Name(StopReason reason);  // length, eos, stop, cancelled, error

struct Generation {
  std::vector<int32_t> tokens = {};  // drawn, including the end-of-sequence token
  std::vector<uint8_t> loops = {};   // [tokens] how many were run to draw each
  std::vector<double> losses = {};   // [tokens] −ln p, with Request::given alone
  std::string text = {};             // decoded without special tokens and stop string
  StopReason reason = StopReason::kLength;
  std::string error = {};  // with kError
  int prompt_tokens = 0;
  int reused_tokens = 0;       // of the prompt, whose keys and values were there already
  int64_t drafted = 0;         // by self-speculation
  int64_t accepted = 0;        // of the drafted tokens
  double prefill_seconds = 0;  // until the first token
  double decode_seconds = 0;   // of all steps after it
};

// Called with each piece of text as soon as it is certain, always whole UTF-8 characters. Returning
// false ends the generation.
using TextCallback = std::function<bool(std::string_view text)>;

// Continues `prompt` until max_new_tokens, max_positions, a stop string or an end-of-sequence token
// (the model's or the tokenizer's). Throws when the prompt is empty or does not fit. For several
// texts at once, or conversations, see scheduler.h.
Generation Generate(const Engine& engine, const Tokenizer& tokenizer,
                    std::span<const int32_t> prompt, const GenerateOptions& options,
                    const TextCallback& callback = {});

}  // namespace rondo
