// Two neighbours share the linears of attention or of the feed-forward, each with norms of its own
// (the pairing of Bae et al. 2025, SEQUENCE, one pair at a time).
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "compress/operator.h"

namespace rondo {
namespace {

int UsesOf(const ModulePlan& module, int block) {
  return static_cast<int>(std::ranges::count(module.blocks, block));
}

// The mean of two matrices.
Tensor Mean(const Tensor& a, const Tensor& b) {
  std::vector<float> values = ToF32(a);
  const std::vector<float> other = ToF32(b);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.5f * (values[i] + other[i]);
  return Tensor::FromF32(a.shape(), std::move(values));
}

// Block ids in order of first use, and the tensors moved along.
void Renumber(Module m, State& state) {
  ModulePlan& module = state.model.plan[m];
  std::map<int, int> numbers;
  for (const int block : module.blocks) {
    numbers.emplace(block, static_cast<int>(numbers.size()));
  }
  Weights weights = state.model.weights;
  const int before = module.BlockCount();
  for (int block = 0; block < before; ++block) {
    for (const char* part : {"weight", "bias"}) {
      weights.Erase(BlockTensor(block, m, part));
    }
  }
  TensorTypes types = state.types;
  for (const auto& [from, to] : numbers) {
    for (const char* part : {"weight", "bias"}) {
      const std::string old = BlockTensor(from, m, part), name = BlockTensor(to, m, part);
      if (!state.model.weights.Has(old)) continue;
      weights.Set(name, state.model.weights.Get(old));
      types[name] = state.types.at(old);
    }
  }
  for (int& block : module.blocks) block = numbers.at(block);
  state.model.weights = std::move(weights);
  state.types = std::move(types);
}

class TieOperator : public Operator {
 public:
  std::string_view name() const override { return "tie"; }

  std::vector<Step> Steps(const State& state) const override {
    std::vector<Step> steps;
    for (int depth = 1; depth < state.model.plan.depths; ++depth) {
      for (const ModuleGroup group : {ModuleGroup::kAttention, ModuleGroup::kFfn}) {
        if (!CanTie(state, depth, group)) continue;
        const int original = state.origin[static_cast<size_t>(depth)];
        steps.push_back({.name = "tie " + std::string(Name(group)) + " " + std::to_string(original),
                         .apply = [original, group](const State& s, Meter&) {
                           return Tied(s, original, group);
                         }});
      }
    }
    return steps;
  }

 private:
  // Whole, unshared blocks of equal shape.
  static bool CanTie(const State& state, int depth, ModuleGroup group) {
    const SharingPlan& plan = state.model.plan;
    for (const Module m : kAllModules) {
      if (!IsLinear(m) || GroupOf(m) != group || plan[m].blocks.empty()) continue;
      for (const int d : {depth - 1, depth}) {
        const int block = plan[m].blocks[static_cast<size_t>(d)];
        if (UsesOf(plan[m], block) > 1 || plan[m].FactorRank(block) > 0) return false;
      }
      if (plan.MatrixShape(state.model.config, m, depth) !=
          plan.MatrixShape(state.model.config, m, depth - 1)) {
        return false;
      }
    }
    return true;
  }

  static State Tied(const State& before, int original, ModuleGroup group) {
    State state = before;
    const auto depth =
        static_cast<size_t>(std::ranges::find(state.origin, original) - state.origin.begin());
    for (const Module m : kAllModules) {
      ModulePlan& module = state.model.plan[m];
      if (!IsLinear(m) || GroupOf(m) != group || module.blocks.empty()) continue;
      Weights& weights = state.model.weights;
      const int first = module.blocks[depth - 1], second = module.blocks[depth];
      weights.Set(BlockTensor(first, m),
                  Mean(weights.Get(BlockTensor(first, m)), weights.Get(BlockTensor(second, m))));
      if (state.model.config.HasBias(m) && !module.own_bias) KeepBiases(m, state);
      module.blocks[depth] = first;
      if (!module.factors.empty()) {
        module.factors.erase(module.factors.begin() + second);
      }
      Renumber(m, state);
    }
    state.model.plan.order = "custom";
    return state;
  }

  // Every depth gets its bias as its own.
  static void KeepBiases(Module m, State& state) {
    ModulePlan& module = state.model.plan[m];
    for (int d = 0; d < state.model.plan.depths; ++d) {
      const std::string from = BlockTensor(module.blocks[static_cast<size_t>(d)], m, "bias");
      state.model.weights.Set(ResidualTensor(d, m, "bias"), state.model.weights.Get(from));
      state.types[ResidualTensor(d, m, "bias")] = DType::kF32;
    }
    for (int block = 0; block < module.BlockCount(); ++block) {
      state.model.weights.Erase(BlockTensor(block, m, "bias"));
    }
    module.own_bias = true;
  }
};

}  // namespace

std::unique_ptr<Operator> MakeTie() { return std::make_unique<TieOperator>(); }

}  // namespace rondo
