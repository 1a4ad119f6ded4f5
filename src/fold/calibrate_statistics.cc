#include "fold/calibrate_statistics.h"

#include <algorithm>
#include <utility>

#include "base/progress.h"
#include "fold/moments.h"

namespace rondo {
namespace {

// Rows on which output weights are measured.
constexpr int64_t kWeightRows = 2048;

}  // namespace

std::vector<DepthStatistics> MeasureDepths(const Model& model, const SharingPlan& plan,
                                           const std::function<bool(int, TapPoint)>& wanted,
                                           LayerRunner& runner, ThreadPool& pool, bool quiet) {
  Progress progress("measure", plan.depths, quiet);
  const SourceLayers source(model, plan);
  std::vector<DepthStatistics> all(static_cast<size_t>(plan.depths));
  std::vector<float> hidden = runner.Embed(model);
  for (int depth = 0; depth < plan.depths; ++depth) {
    DenseLayer layer;
    LoadSourceLayer(model, plan, depth, layer, pool);
    DepthStatistics& statistics = all[static_cast<size_t>(depth)];
    const auto tap = [&](int, TapPoint point, const float* x, int64_t rows, int64_t width) {
      if (point == TapPoint::kFfnInput) {
        statistics.output_weights =
            FfnOutputWeights(model.config, layer.use(), source.Weight(Module::kDown, depth), x,
                             std::min(rows, kWeightRows), pool);
      }
      if (!wanted(depth, point)) return;
      const Rows x_rows{x, rows, width};
      const MatrixF64 moment = CrossMoment(x_rows, x_rows, pool);
      statistics.moments[static_cast<size_t>(point)] =
          MatrixF32(moment.rows(), moment.cols(), Narrow(moment));
    };
    runner.Run(layer, depth, hidden, tap);
    statistics.output_weights[Module::kV] =
        ValueOutputWeights(model.config, source.Weight(Module::kO, depth));
    progress.Add();
  }
  return all;
}

std::vector<double> OutputWeights(const std::vector<DepthStatistics>& statistics, Module m,
                                  std::span<const int> depths) {
  std::vector<double> sum;
  for (const int depth : depths) {
    const auto& weights = statistics[static_cast<size_t>(depth)].output_weights;
    const auto found = weights.find(m);
    if (found == weights.end()) return {};
    const std::vector<double>& own = found->second;
    double mean = 0;
    for (const double w : own) mean += w / static_cast<double>(own.size());
    sum.resize(own.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += mean > 0 ? own[i] / mean : 1;
  }
  return sum;
}

TiedTarget MakeTarget(const SharingPlan& plan, Module m, int depth, MatrixF64 weight,
                      MatrixF64 moment) {
  const ModulePlan& module = plan[m];
  return {.weight = std::move(weight),
          .moment = std::move(moment),
          .residual = plan.HasResidual(m, depth),
          .rank = module.ranks.empty() ? 0 : module.ranks[static_cast<size_t>(depth)]};
}

TiedFit FitGroup(const SourceLayers& source, const SharingPlan& plan,
                 const std::vector<DepthStatistics>& statistics, Module m,
                 std::span<const int> depths, double damping) {
  std::vector<TiedTarget> targets;
  for (const int depth : depths) {
    const auto point = static_cast<size_t>(TapOf(m));
    MatrixF64 weight = source.WeightF64(m, depth);
    MatrixF64 moment(weight.cols(), weight.cols());  // of a depth alone: any metric will do
    const MatrixF32& measured = statistics[static_cast<size_t>(depth)].moments[point];
    if (measured.rows() > 0) moment = Widen(measured.values(), measured.rows(), measured.cols());
    Damp(moment, damping);
    targets.push_back(MakeTarget(plan, m, depth, std::move(weight), std::move(moment)));
  }
  return FitTied(plan[m].residual, std::move(targets), OutputWeights(statistics, m, depths));
}

}  // namespace rondo
