// Learning rates and fades as functions of the share of a stage that is done. Whether steps, tokens
// or minutes bound the stage, they see only that share.
#pragma once

#include <vector>

namespace rondo {

enum class LrSchedule { kConstant, kCosine, kTrapezoid };  // trapezoid: warm-up, stable, decay

struct LrOptions {
  LrSchedule schedule = LrSchedule::kCosine;
  double warmup = 0.02;   // share of the stage in which the rate rises from 0
  double decay = 0.2;     // trapezoid: share of the stage at its end in which it falls
  double final_lr = 0.1;  // share of the rate that is left at the end
};

// Factor on the learning rate at `progress` in [0, 1].
double LrFactor(const LrOptions& options, double progress);

enum class FadeKind { kNone, kLinear, kCosine };

struct FadeOptions {
  FadeKind kind = FadeKind::kNone;
  double until = 0.8;     // share of the stage at which nothing is left
  double power = 1;       // exponent of the remaining weight; above 1 leaves slowly at the end
  double window = 1;      // share of the fade that one group of depths takes; 1: all fade together
  bool backward = false;  // the last group first
};

// Weights [depths] of what fades. `groups[depth]` numbers from 0 the depths that fade together.
std::vector<double> FadeWeights(const FadeOptions& options, const std::vector<int>& groups,
                                double progress);

}  // namespace rondo
