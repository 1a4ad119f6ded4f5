#include "train/recipe/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rondo {
namespace {

// From 1 at 0 to 0 at 1.
double HalfCosine(double share) { return 0.5 * (1 + std::cos(std::numbers::pi * share)); }

double Remaining(const FadeOptions& options, double share) {
  share = std::clamp(share, 0.0, 1.0);
  const double left = options.kind == FadeKind::kCosine ? HalfCosine(share) : 1 - share;
  return share >= 1 ? 0 : std::pow(left, options.power);
}

}  // namespace

double LrFactor(const LrOptions& options, double progress) {
  progress = std::clamp(progress, 0.0, 1.0);
  if (progress < options.warmup) return progress / options.warmup;
  const auto between = [&](double left) {
    return options.final_lr + (1 - options.final_lr) * left;
  };
  switch (options.schedule) {
    case LrSchedule::kConstant:
      return 1;
    case LrSchedule::kCosine:
      return between(HalfCosine((progress - options.warmup) / std::max(1e-9, 1 - options.warmup)));
    case LrSchedule::kTrapezoid:
      if (progress <= 1 - options.decay) return 1;
      return between((1 - progress) / options.decay);
  }
  return 1;
}

std::vector<double> FadeWeights(const FadeOptions& options, const std::vector<int>& groups,
                                double progress) {
  std::vector<double> weights(groups.size(), 0.0);
  if (options.kind == FadeKind::kNone || groups.empty()) return weights;
  const int count = *std::ranges::max_element(groups) + 1;
  const double done = progress / std::max(1e-9, options.until);
  for (size_t depth = 0; depth < groups.size(); ++depth) {
    const int place = options.backward ? count - 1 - groups[depth] : groups[depth];
    const double start = count > 1 ? (1 - options.window) * place / (count - 1) : 0;
    weights[depth] = Remaining(options, (done - start) / options.window);
  }
  return weights;
}

}  // namespace rondo
