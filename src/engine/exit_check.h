// Whether a token may leave the loops.
#pragma once

#include <span>

#include "rondo/generate.h"

namespace rondo {

// Throws naming the option that is out of range for the model, or that it has no gate for.
void CheckExit(const ExitOptions& exit, const SpeculationOptions& speculation,
               const Engine& engine);

// Whether the rule decides by logits, so that a look at a token costs a pass through the head.
bool ReadsLogits(ExitRule rule);

// What a rule may look at behind a loop.
struct ExitLook {
  const Engine& engine;
  int loops_run;
  std::span<const float> logits;         // of the next token; empty unless ReadsLogits
  std::span<const float> before, after;  // hidden state around the loop
};

// What the rule compares with its threshold: confidence, entropy, relative change, gate's
// probability. Not for kNever and kTrace, which look at nothing.
double ExitScore(ExitRule rule, const ExitLook& look);

// Whether tokens leave at scores from the threshold upwards; otherwise up to it.
bool LeavesAbove(ExitRule rule);

// `token` counts the drawn tokens.
bool ShouldExit(const ExitOptions& exit, size_t token, const ExitLook& look);

// ‖after − before‖ / ‖before‖.
double RelativeChange(std::span<const float> before, std::span<const float> after);

}  // namespace rondo
