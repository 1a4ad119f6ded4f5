// Residual ranks by measured sensitivity: a parameter goes where it takes away most of the loss.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "fold/calibrate_statistics.h"
#include "rondo/model.h"

namespace rondo {

// Loss of a tied group at some ranks of its residuals. Between those it is taken to fall
// geometrically.
struct RankCurve {
  std::vector<std::pair<int, double>> losses;  // (rank, loss), ranks ascending from the least
  int64_t parameters = 0;                      // of one rank, over all depths of the group
};

// A rank for every curve between its first and its last, in steps of `step`, with least summed loss
// among the choices on the curves' lower convex hulls, and at most `budget` parameters in all
// (more only if the first ranks take more).
std::vector<int> SpreadRanks(std::span<const RankCurve> curves, int64_t budget, int step);

// `plan` with as many residual parameters or a few less, spread over its tied groups. What a group
// loses at a rank r is s · E(r): E is the fit's squared error in the activations' metric, measured
// at several ranks, and s what that error does to the model's predictions: KL(original ‖ group
// tied) over E, both at the group's present rank, on the first tokens of `tokens`. Ranks inside a
// group are equal, and depths without residual stay so.
// Throws when no tied group has a rank.
SharingPlan AllocateRanks(const Model& model, const SharingPlan& plan,
                          const std::vector<DepthStatistics>& statistics,
                          std::span<const int32_t> tokens, const CalibrateOptions& options,
                          ThreadPool& pool, bool quiet);

}  // namespace rondo
