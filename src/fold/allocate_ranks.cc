#include "fold/allocate_ranks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/progress.h"
#include "fold/shared_init.h"
#include "fold/similarity.h"
#include "rondo/engine.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr int64_t kProbeTokens = 256;
constexpr int kStepsOfMean = 8;  // ranks move by so many parts of the mean rank
// Where errors are measured, in units of the group's present rank. The first is the least that a
// group keeps: a depth also needs residuals of its own to make good what others left (step 3 of
// FoldCalibrated).
constexpr std::array<double, 4> kRanksMeasured = {0.5, 1, 2, 4};
// What counts as nothing left, as a share of a curve's first loss.
constexpr double kNothing = 1e-9;

// The depths that share one block.
struct Group {
  Module module;
  std::vector<int> depths;
  int rank = 0;            // mean of those that have a residual
  int most = 0;            // full rank
  int64_t parameters = 0;  // of one rank, over the depths that have a residual
  int64_t planned = 0;     // parameters of the ranks that the plan gives
};

// At a rank between a curve's first and its last.
double LossAt(const RankCurve& curve, int rank) {
  const auto above = std::ranges::find_if(
      curve.losses, [&](const auto& measured) { return measured.first >= rank; });
  if (above->first == rank) return above->second;
  const auto below = above - 1;
  const double share = static_cast<double>(rank - below->first) / (above->first - below->first);
  const double least = kNothing * curve.losses.front().second;
  const double from = std::max(below->second, least), to = std::max(above->second, least);
  return from * std::pow(to / std::max(from, 1e-300), share);
}

// A piece of a curve's lower convex hull.
struct Piece {
  size_t curve;
  int ranks;
  double gain;  // per parameter
};

std::vector<Piece> HullOf(const RankCurve& curve, size_t index, int step) {
  const int most = curve.losses.back().first;
  std::vector<std::pair<int, double>> hull;
  const auto slope = [](const auto& a, const auto& b) {
    return (a.second - b.second) / (b.first - a.first);
  };
  for (int rank = curve.losses.front().first;; rank = std::min(rank + step, most)) {
    const std::pair<int, double> point = {rank, LossAt(curve, rank)};
    while (hull.size() > 1 &&
           slope(hull[hull.size() - 2], hull.back()) <= slope(hull.back(), point)) {
      hull.pop_back();
    }
    hull.push_back(point);
    if (rank == most) break;
  }
  std::vector<Piece> pieces;
  for (size_t i = 1; i < hull.size(); ++i) {
    const double gain = slope(hull[i - 1], hull[i]) / static_cast<double>(curve.parameters);
    for (int left = hull[i].first - hull[i - 1].first; left > 0; left -= step) {
      pieces.push_back({index, std::min(left, step), gain});
    }
  }
  return pieces;
}

std::vector<Group> GroupsOf(const ModelConfig& config, const SharingPlan& plan) {
  std::vector<Group> groups;
  for (const Module m : kAllModules) {
    if (!IsLinear(m) || !config.HasModule(m) || plan[m].ranks.empty()) continue;
    if (plan[m].residual == ResidualKind::kMulDiag) continue;
    for (const std::vector<int>& depths : DepthsOfBlocks(plan[m].blocks)) {
      int with_residual = 0, ranks = 0;
      for (const int depth : depths) {
        with_residual += plan.HasResidual(m, depth);
        ranks += plan[m].ranks[static_cast<size_t>(depth)];
      }
      if (depths.size() < 2 || with_residual == 0) continue;
      const Shape shape = config.ModuleShape(m);
      const int64_t one = shape[0] + shape[1];
      groups.push_back({.module = m,
                        .depths = depths,
                        .rank = ranks / with_residual,
                        .most = static_cast<int>(std::min(shape[0], shape[1])),
                        .parameters = one * with_residual,
                        .planned = one * ranks});
    }
  }
  return groups;
}

void SetRank(const Group& group, int rank, SharingPlan& plan) {
  for (const int depth : group.depths) {
    int& own = plan[group.module].ranks[static_cast<size_t>(depth)];
    if (own > 0) own = rank;
  }
}

class Allocator {
 public:
  Allocator(const Model& model, const SharingPlan& plan,
            const std::vector<DepthStatistics>& statistics, std::span<const int32_t> tokens,
            const CalibrateOptions& options, ThreadPool& pool)
      : model_(model),
        plan_(plan),
        statistics_(statistics),
        options_(options),
        pool_(pool),
        source_(model, plan),
        engine_(model, {}, pool),
        probe_(model, engine_, tokens, kProbeTokens, pool),
        groups_(GroupsOf(model.config, plan)) {}

  const std::vector<Group>& groups() const { return groups_; }

  // One curve a group.
  std::vector<RankCurve> Measure(bool quiet) {
    std::vector<RankCurve> curves(groups_.size());
    Progress progress("ranks", std::ssize(groups_), quiet);
    // The fits of one module at a time are in memory.
    for (size_t begin = 0; begin < groups_.size();) {
      size_t end = begin;
      while (end < groups_.size() && groups_[end].module == groups_[begin].module) ++end;
      MeasureModule(begin, end, curves, progress);
      begin = end;
    }
    return curves;
  }

 private:
  std::vector<int> RanksOf(const Group& group) const {
    std::vector<int> ranks;
    for (const double factor : kRanksMeasured) {
      const int rank =
          std::clamp(static_cast<int>(std::lround(factor * group.rank)), 1, group.most);
      if (ranks.empty() || rank > ranks.back()) ranks.push_back(rank);
    }
    return ranks;
  }

  TiedFit FitAt(const Group& group, int rank) const {
    SharingPlan plan = plan_;
    SetRank(group, rank, plan);
    return FitGroup(source_, plan, statistics_, group.module, group.depths, options_.damping);
  }

  void MeasureModule(size_t begin, size_t end, std::vector<RankCurve>& curves, Progress& progress) {
    const auto count = static_cast<int64_t>(end - begin);
    std::vector<TiedFit> present(end - begin);
    pool_.ParallelFor(count, [&](int64_t i) {
      const size_t at = begin + static_cast<size_t>(i);
      const Group& group = groups_[at];
      RankCurve& curve = curves[at];
      for (const int rank : RanksOf(group)) {
        TiedFit fit = FitAt(group, rank);
        // What a fit leaves never grows with its rank but by rounding.
        const double least = curve.losses.empty() ? fit.losses.back() : curve.losses.back().second;
        curve.losses.emplace_back(rank, std::min(fit.losses.back(), least));
        if (rank == group.rank) present[static_cast<size_t>(i)] = std::move(fit);
      }
      curve.parameters = group.parameters;
    });
    for (size_t at = begin; at < end; ++at) {
      const double divergence = DivergenceOf(groups_[at], present[at - begin]);
      const double error = LossAt(curves[at], groups_[at].rank);
      for (auto& [rank, loss] : curves[at].losses) loss *= error > 0 ? divergence / error : 1;
      progress.Add();
    }
  }

  // KL(original ‖ this group tied), nats a token.
  double DivergenceOf(const Group& group, const TiedFit& fit) {
    std::map<int, DenseLayer> layers;
    std::map<int, const DenseLayer*> changed;
    for (size_t d = 0; d < group.depths.size(); ++d) {
      const int depth = group.depths[d];
      DenseLayer& layer = layers[depth];
      LoadSourceLayer(model_, plan_, depth, layer, pool_);
      layer.SetLinear(group.module, MergedMatrix(plan_[group.module].residual, fit, d));
      changed[depth] = &layer;
    }
    return std::max(probe_.Loss(changed), 0.0);
  }

  const Model& model_;
  const SharingPlan& plan_;
  const std::vector<DepthStatistics>& statistics_;
  const CalibrateOptions& options_;
  ThreadPool& pool_;
  SourceLayers source_;
  Engine engine_;
  TieProbe probe_;
  std::vector<Group> groups_;
};

}  // namespace

std::vector<int> SpreadRanks(std::span<const RankCurve> curves, int64_t budget, int step) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < curves.size(); ++i) {
    const auto more = HullOf(curves[i], i, step);
    pieces.insert(pieces.end(), more.begin(), more.end());
  }
  // Gains fall along a hull, so a curve's pieces keep their order.
  std::ranges::stable_sort(pieces, std::ranges::greater{}, &Piece::gain);
  std::vector<int> ranks;
  for (const RankCurve& curve : curves) {
    ranks.push_back(curve.losses.front().first);
    budget -= ranks.back() * curve.parameters;
  }
  std::vector<bool> closed(curves.size());
  for (const Piece& piece : pieces) {
    const int64_t cost = piece.ranks * curves[piece.curve].parameters;
    if (piece.gain <= 0 || closed[piece.curve] || cost > budget) {
      closed[piece.curve] = true;
      continue;
    }
    budget -= cost;
    ranks[piece.curve] += piece.ranks;
  }
  return ranks;
}

SharingPlan AllocateRanks(const Model& model, const SharingPlan& plan,
                          const std::vector<DepthStatistics>& statistics,
                          std::span<const int32_t> tokens, const CalibrateOptions& options,
                          ThreadPool& pool, bool quiet) {
  Allocator allocator(model, plan, statistics, tokens, options, pool);
  const std::vector<Group>& groups = allocator.groups();
  if (groups.empty()) {
    throw Error({.function = "AllocateRanks",
                 .problem = "a plan whose tied linears have no residual with a rank",
                 .expected = "low-rank residuals of tied layers"});
  }
  const std::vector<RankCurve> curves = allocator.Measure(quiet);
  int64_t budget = 0, ranks = 0;
  for (const Group& group : groups) {
    budget += group.planned;
    ranks += group.rank;
  }
  const int step = std::max(1, static_cast<int>(ranks / std::ssize(groups)) / kStepsOfMean);
  const std::vector<int> chosen = SpreadRanks(curves, budget, step);
  SharingPlan result = plan;
  for (size_t i = 0; i < groups.size(); ++i) SetRank(groups[i], chosen[i], result);
  result.Validate(model.config);
  return result;
}

}  // namespace rondo
