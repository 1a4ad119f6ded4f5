#include "engine/exit_check.h"

#include <cmath>
#include <limits>
#include <string>

#include "kernels/log_softmax.h"
#include "rondo/error.h"

namespace rondo {
namespace {

void Require(bool ok, const char* field, const std::string& value, const std::string& expected) {
  if (ok) return;
  throw Error({.function = "GenerateOptions",
               .problem = "value " + value,
               .expected = expected,
               .file = {},
               .field = field});
}

}  // namespace

void CheckExit(const ExitOptions& exit, const SpeculationOptions& speculation,
               const Engine& engine) {
  const int loops = engine.loops().loops;
  const std::string all = std::to_string(loops);
  Require(exit.max_loops >= 0 && exit.max_loops <= loops, "exit.max_loops",
          std::to_string(exit.max_loops), "0 (all) to " + all + ", the model's loops");
  Require(exit.min_loops >= 1 && exit.min_loops <= loops, "exit.min_loops",
          std::to_string(exit.min_loops), "1 to " + all + ", the model's loops");
  const bool probability = LeavesAbove(exit.rule);
  Require(
      std::isfinite(exit.threshold) && exit.threshold >= 0 && (!probability || exit.threshold <= 1),
      "exit.threshold", std::to_string(exit.threshold),
      probability ? "a probability, 0 to 1" : "0 or more");
  Require(exit.rule != ExitRule::kGate || engine.has_exit_gate(), "exit.rule", "gate",
          "another rule: the model has no exit gate (rondo calibrate-exit --fit-gate fits one)");
  const bool traced = exit.rule == ExitRule::kTrace;
  Require(
      traced == !exit.trace.empty(), "exit.trace", std::to_string(exit.trace.size()) + " loops",
      traced ? "at least one entry" : "no entries: the rule is " + std::string(Name(exit.rule)));
  for (const uint8_t run : exit.trace) {
    Require(run >= 1 && run <= loops, "exit.trace", std::to_string(run), "loops from 1 to " + all);
  }
  if (speculation.drafts == 0) return;
  Require(speculation.drafts > 0, "speculation.drafts", std::to_string(speculation.drafts),
          "0 or more");
  Require(exit.rule == ExitRule::kNever, "speculation.drafts", std::to_string(speculation.drafts),
          "0 together with an exit rule");
  const int limit = exit.max_loops > 0 ? exit.max_loops : loops;
  Require(limit > 1, "speculation.drafts", std::to_string(speculation.drafts),
          "0: the model runs one loop only, there are no shallower ones to draft with");
  Require(speculation.draft_loops >= 1 && speculation.draft_loops < limit,
          "speculation.draft_loops", std::to_string(speculation.draft_loops),
          "1 to " + std::to_string(limit - 1));
}

bool ReadsLogits(ExitRule rule) {
  return rule == ExitRule::kConfidence || rule == ExitRule::kEntropy;
}

double ExitScore(ExitRule rule, const ExitLook& look) {
  switch (rule) {
    case ExitRule::kConfidence:
      return CertaintyOf(look.logits).confidence;
    case ExitRule::kEntropy:
      return CertaintyOf(look.logits).entropy;
    case ExitRule::kHiddenChange:
      return RelativeChange(look.before, look.after);
    case ExitRule::kGate:
      return look.engine.ExitGate(look.loops_run, look.after);
    case ExitRule::kNever:
    case ExitRule::kTrace:
      break;
  }
  return 0;
}

bool LeavesAbove(ExitRule rule) { return rule == ExitRule::kConfidence || rule == ExitRule::kGate; }

bool ShouldExit(const ExitOptions& exit, size_t token, const ExitLook& look) {
  if (look.loops_run < exit.min_loops || exit.rule == ExitRule::kNever) return false;
  if (exit.rule == ExitRule::kTrace) {
    return look.loops_run >= exit.trace[token % exit.trace.size()];
  }
  const double score = ExitScore(exit.rule, look);
  return LeavesAbove(exit.rule) ? score >= exit.threshold : score <= exit.threshold;
}

double RelativeChange(std::span<const float> before, std::span<const float> after) {
  double change = 0, size = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double difference = double{after[i]} - before[i];
    change += difference * difference;
    size += double{before[i]} * before[i];
  }
  return size > 0 ? std::sqrt(change / size) : std::numeric_limits<double>::infinity();
}

}  // namespace rondo
