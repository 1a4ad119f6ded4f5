// How the difference between two models grows on its way through depths and loops.
//
//   ErrorGrowth growth = MeasureErrorGrowth(original, quantized, tokens, {.context = 1024});
//   growth.hidden[depth];    // relative error of the hidden state behind a depth
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/engine.h"
#include "rondo/eval.h"

namespace rondo {

struct ErrorGrowth {
  // [depths] mean over positions of ‖h_b − h_a‖ / ‖h_a‖ behind each depth.
  std::vector<double> hidden;
  Divergence divergence;  // of the logits, a the reference
  double perplexity_a = 0, perplexity_b = 0;
  int64_t tokens = 0;  // predicted tokens
};

// Runs both models over the same windows side by side. They must have the same vocabulary, width
// and number of layers. Windows as in Perplexity().
ErrorGrowth MeasureErrorGrowth(const Engine& a, const Engine& b, std::span<const int32_t> tokens,
                               const WindowOptions& options);

}  // namespace rondo
