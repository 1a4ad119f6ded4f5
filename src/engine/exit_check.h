// Whether a token may leave the loops.
#pragma once

#include <span>

#include "rondo/generate.h"

namespace rondo {

// Throws naming the option out of range, for a model of `loops` loops.
void CheckExit(const ExitOptions& exit, const SpeculationOptions& speculation, int loops);

// Whether the rule decides by logits, so that a look at a token costs a pass through the head.
bool ReadsLogits(ExitRule rule);

// `logits` of the token after `loops_run` loops; empty unless ReadsLogits. `before` and `after` are
// its hidden state around the last loop; `token` counts the drawn tokens.
bool ShouldExit(const ExitOptions& exit, int loops_run, size_t token, std::span<const float> logits,
                std::span<const float> before, std::span<const float> after);

// Largest probability and entropy (nats) of softmax(logits).
struct Certainty {
  double confidence;
  double entropy;
};
Certainty CertaintyOf(std::span<const float> logits);

// ‖after − before‖ / ‖before‖.
double RelativeChange(std::span<const float> before, std::span<const float> after);

}  // namespace rondo
