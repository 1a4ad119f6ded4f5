// A matrix of its own becomes two factors: truncated SVD in the metric of what really enters it
// (whitened SVD: SVD-LLM, Wang et al. 2024).
#include <algorithm>
#include <string>
#include <utility>

#include "compress/operator.h"
#include "fold/calibrate_tied.h"
#include "fold/moments.h"
#include "fold/residual.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr int kMultiple = 32;
constexpr double kDamping = 1e-2;   // of the moment, of its mean diagonal
constexpr double kShrinkage = 0.5;  // as in calibrated folding

// Three quarters of the parameters of the matrix, then a half, then a quarter.
constexpr double kShares[] = {0.75, 0.5, 0.25};

int RankOf(const Shape& shape, double share) {
  const double parameters = static_cast<double>(shape[0] * shape[1]);
  const double rank = share * parameters / static_cast<double>(shape[0] + shape[1]);
  return static_cast<int>(rank) / kMultiple * kMultiple;
}

class LowRankOperator : public Operator {
 public:
  std::string_view name() const override { return "lowrank"; }

  std::vector<Step> Steps(const State& state) const override {
    std::vector<Step> steps;
    const SharingPlan& plan = state.model.plan;
    for (const Module m : kAllModules) {
      if (!IsLinear(m) || plan[m].blocks.empty()) continue;
      if (plan[m].residual != ResidualKind::kNone) continue;
      for (int depth = 0; depth < plan.depths; ++depth) {
        const int block = plan[m].blocks[static_cast<size_t>(depth)];
        if (std::ranges::count(plan[m].blocks, block) > 1) continue;
        const Shape shape = plan.MatrixShape(state.model.config, m, depth);
        const int present = plan[m].FactorRank(block);
        for (const double share : kShares) {
          const int rank = RankOf(shape, share);
          if (rank < kMultiple || (present > 0 && rank >= present)) continue;
          const int original = state.origin[static_cast<size_t>(depth)];
          steps.push_back({.name = "lowrank " + std::to_string(original) + " " +
                                   std::string(Name(m)) + " " + std::to_string(rank),
                           .apply = [original, m, rank](const State& s, Meter& meter) {
                             return Factored(s, meter, original, m, rank);
                           }});
          break;
        }
      }
    }
    return steps;
  }

 private:
  static State Factored(const State& before, Meter& meter, int original, Module m, int rank) {
    State state = before;
    const auto at =
        static_cast<size_t>(std::ranges::find(state.origin, original) - state.origin.begin());
    const int depth = static_cast<int>(at);
    ModulePlan& module = state.model.plan[m];
    const int block = module.blocks[at];
    const Tensor whole = BlockMatrix(state.model.weights, before.model.plan, m, block);
    const std::vector<float> inputs = meter.Inputs(before, depth, TapOf(m));
    const int64_t in = whole.cols(), rows = static_cast<int64_t>(inputs.size()) / in;
    MatrixF64 moment =
        CrossMoment({inputs.data(), rows, in}, {inputs.data(), rows, in}, meter.pool());
    Damp(moment, kDamping);
    DampEach(moment, kShrinkage * static_cast<double>(in) / static_cast<double>(rows));
    TiedTarget target = {
        .weight = Widen(ToF32(whole), whole.rows(), in), .moment = std::move(moment), .rank = rank};
    const MatrixF64 nothing(whole.rows(), in);
    const ResidualParts parts = FitToMoment(ResidualKind::kLora, std::move(target), nothing, {});
    if (module.factors.empty()) {
      module.factors.assign(static_cast<size_t>(module.BlockCount()), 0);
    }
    const std::string name = BlockTensor(block, m);
    const std::string old =
        module.factors[static_cast<size_t>(block)] > 0 ? BlockTensor(block, m, "a") : name;
    const DType type = state.types.at(old);
    module.factors[static_cast<size_t>(block)] = rank;
    state.model.weights.Erase(name);
    state.types.erase(name);
    for (const auto& [part, tensor] : parts) {
      state.model.weights.Set(BlockTensor(block, m, part), tensor);
      state.types[BlockTensor(block, m, part)] = type;
    }
    return state;
  }
};

}  // namespace

std::unique_ptr<Operator> MakeLowRank() { return std::make_unique<LowRankOperator>(); }

}  // namespace rondo
