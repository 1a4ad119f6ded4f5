// What calibration measures of the original model: moments of linear inputs, weights of outputs.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "fold/absorb.h"
#include "fold/calibrate_layer.h"
#include "fold/calibrate_tied.h"
#include "fold/linalg.h"
#include "rondo/calibrate.h"

namespace rondo {

struct DepthStatistics {
  std::array<MatrixF32, kTapPoints> moments;  // empty where not asked for
  std::map<Module, std::vector<double>> output_weights;
};

// Runs the original, norms absorbed as in `plan`, over the runner's text. Moments are taken at the
// points for which `wanted(depth, point)` holds.
std::vector<DepthStatistics> MeasureDepths(const Model& model, const SharingPlan& plan,
                                           const std::function<bool(int, TapPoint)>& wanted,
                                           LayerRunner& runner, ThreadPool& pool, bool quiet);

// Sum over `depths` of the output weights of `m`, each scaled to a mean of one; empty for modules
// whose outputs count alike.
std::vector<double> OutputWeights(const std::vector<DepthStatistics>& statistics, Module m,
                                  std::span<const int> depths);

// The fit of module `m` at `depths` as one block, with the residuals that `plan` gives them.
TiedFit FitGroup(const SourceLayers& source, const SharingPlan& plan,
                 const std::vector<DepthStatistics>& statistics, Module m,
                 std::span<const int> depths, double damping);

// What one depth wants of module `m`, in `plan`'s terms.
TiedTarget MakeTarget(const SharingPlan& plan, Module m, int depth, MatrixF64 weight,
                      MatrixF64 moment);

// Steps 2 and 3 of FoldCalibrated() on statistics measured before.
Model FoldMeasured(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                   const std::vector<DepthStatistics>& statistics, LayerRunner& runner,
                   const CalibrateOptions& options, ThreadPool& pool, bool quiet);

}  // namespace rondo
