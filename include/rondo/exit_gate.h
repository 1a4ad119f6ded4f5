// A learned exit gate: after each loop but the last, the probability that the token may leave.
//
//   ExitGateFit fit = FitExitGate(model, engine, tokens, {}, pool);
//   SaveModel(fit.model, "gated", DType::kF32);         // then --exit gate --exit-threshold 0.9
//
// The gate of a loop is one linear on the normalised hidden state, sigmoid(w · h / rms(h) + b), as
// in Zhu et al., "Scaling Latent Reasoning via Looped Language Models" (Ouro, 2025). A look costs
// d_model multiplications, against a pass through the head for confidence and entropy. Here it is
// fitted to a model that is already trained: a logistic regression on real text, whose answer is
// whether the most likely token after this loop is that of the last one. Any number of threads may
// call FitExitGate at once; those that share a pool take turns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/engine.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

struct ExitGateOptions {
  int context = 512;           // tokens of a sequence
  int64_t max_tokens = 16384;  // of the beginning of the text; 0: all of it
  bool quiet = true;           // no progress bar
};

struct ExitGateFit {
  Model model = {};  // the given one, with plan.exit_gate and its tensors
  int64_t tokens = 0;
  std::vector<double> agreement = {};  // [loops - 1] share of tokens whose answer is yes
  std::vector<double> ridge = {};      // [loops - 1] chosen by the log loss on the last fifth
};

// `engine` runs `model`. Replaces a gate that the model already has. Throws when the model has one
// loop only and for fewer than 100 tokens.
ExitGateFit FitExitGate(const Model& model, const Engine& engine, std::span<const int32_t> tokens,
                        const ExitGateOptions& options, ThreadPool& pool);

}  // namespace rondo
