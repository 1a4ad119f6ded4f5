// Measures of a model on text.
//
//   PerplexityResult r = Perplexity(engine, tokens, {.context = 1024});
//   Divergence d = Compare(engine_a, engine_b, tokens, {.context = 1024});
//
// Both score windows of `context` tokens that advance by `stride`; in every window only the tokens
// no earlier window scored count, as in Hugging Face's guide to perplexity of fixed-length models.
// The first token of a window has no prediction. Any number of threads may call the functions at
// once; engines that share a pool take turns.
#pragma once

#include <cstdint>
#include <span>

#include "rondo/engine.h"

namespace rondo {

struct WindowOptions {
  int context = 1024;      // tokens a window sees
  int stride = 0;          // tokens a window advances; 0: context (windows do not overlap)
  int64_t max_tokens = 0;  // use only the first so many tokens; 0: all
  bool quiet = true;       // no progress bar
};

struct PerplexityResult {
  double perplexity = 0;  // exp(nll)
  double nll = 0;         // mean negative log-likelihood, nats per predicted token
  int64_t tokens = 0;     // predicted tokens
  int windows = 0;
};

// Throws if there are fewer than two tokens or a window exceeds the model's positions.
PerplexityResult Perplexity(const Engine& engine, std::span<const int32_t> tokens,
                            const WindowOptions& options);

struct Divergence {
  double max_abs_logit_diff = 0;
  double mean_abs_logit_diff = 0;
  double max_abs_logit = 0;   // of model a, the scale of the differences
  double kl = 0;              // mean KL(a ‖ b), nats per position
  double top1_agreement = 0;  // share of positions with the same most likely token
  int64_t positions = 0;
};

// Compares the logits of two models with the same vocabulary on the same tokens.
Divergence Compare(const Engine& a, const Engine& b, std::span<const int32_t> tokens,
                   const WindowOptions& options);

}  // namespace rondo
