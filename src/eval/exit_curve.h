// What early exits would save and cost on a text.
//
//   ExitCurve curve = MeasureExits(engine, tokens, {.rule = ExitRule::kConfidence},
//                                  {.context = 512});
//   for (const ExitPoint& p : curve.points) …   // p.threshold, p.mean_loops, p.perplexity
//
// Every token is looked at after every loop, with the keys and values of earlier tokens computed in
// full, as SkippedKv::kDeferred has it; so one pass over the text gives the curve of all
// thresholds. Depths behind the loops see earlier tokens as if those had left after the same loop.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/eval.h"
#include "rondo/generate.h"

namespace rondo {

struct ExitCurveOptions {
  ExitRule rule = ExitRule::kConfidence;  // not never or trace
  int min_loops = 1;
  std::vector<float> thresholds;  // empty: those at which every tenth of the tokens leaves first
};

struct ExitPoint {
  float threshold = 0;
  double mean_loops = 0;
  double perplexity = 0;
  double agreement = 0;  // share of tokens whose most likely successor is the full model's
  std::vector<double> exit_share;  // [loops] of tokens that leave after loop 1, 2, …
};

struct ExitCurve {
  int loops = 0;
  int64_t tokens = 0;
  std::vector<double> loop_perplexity;  // [loops] if all tokens left after loop 1, 2, …
  std::vector<double> loop_agreement;
  std::vector<ExitPoint> points;  // by threshold, most exits first
};

// Throws when the model has one loop only, for rules that need no curve, and as Perplexity does.
ExitCurve MeasureExits(const Engine& engine, std::span<const int32_t> tokens,
                       const ExitCurveOptions& options, const WindowOptions& windows);

}  // namespace rondo
