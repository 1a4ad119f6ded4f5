// A depth's feed-forward loses the channels that matter least: an eighth of d_ff at a time. What a
// channel adds is its mean square times the squared length of its column of `down`.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "compress/operator.h"

namespace rondo {
namespace {

constexpr int kShares = 8;
constexpr int kMultiple = 32;  // of the blocks of quantised types

int StepWidth(const ModelConfig& config) {
  return std::max(kMultiple, config.d_ff / kShares / kMultiple * kMultiple);
}

// The rows (or columns) of a matrix, or the elements of a vector, that are kept.
Tensor Kept(const Tensor& tensor, const std::vector<int>& channels, bool columns) {
  const std::vector<float> values = ToF32(tensor);
  const auto rows = static_cast<size_t>(columns ? tensor.rows() : tensor.shape()[0]);
  const size_t width = values.size() / rows;
  std::vector<float> kept;
  if (!columns) {
    for (const int c : channels) {
      const auto* row = values.data() + static_cast<size_t>(c) * width;
      kept.insert(kept.end(), row, row + width);
    }
    Shape shape = tensor.shape();
    shape[0] = static_cast<int64_t>(channels.size());
    return Tensor::FromF32(shape, std::move(kept));
  }
  for (size_t r = 0; r < rows; ++r) {
    for (const int c : channels) kept.push_back(values[r * width + static_cast<size_t>(c)]);
  }
  return Tensor::FromF32({tensor.rows(), static_cast<int64_t>(channels.size())}, std::move(kept));
}

class NarrowOperator : public Operator {
 public:
  std::string_view name() const override { return "narrow"; }

  std::vector<Step> Steps(const State& state) const override {
    std::vector<Step> steps;
    const ModelConfig& config = state.model.config;
    for (int depth = 0; depth < state.model.plan.depths; ++depth) {
      const int width = state.model.plan.FfnWidth(config, depth) - StepWidth(config);
      if (width < kMultiple || !IsOwn(state, depth)) continue;
      const int original = state.origin[static_cast<size_t>(depth)];
      steps.push_back(
          {.name = "narrow " + std::to_string(original) + " to " + std::to_string(width),
           .apply = [original, width](const State& s, Meter& meter) {
             return Narrowed(s, meter, original, width);
           }});
    }
    return steps;
  }

 private:
  // Whole blocks without residuals that no other depth uses.
  static bool IsOwn(const State& state, int depth) {
    const SharingPlan& plan = state.model.plan;
    for (const Module m : {Module::kGate, Module::kUp, Module::kDown}) {
      if (plan[m].blocks.empty()) continue;
      const int block = plan[m].blocks[static_cast<size_t>(depth)];
      if (std::ranges::count(plan[m].blocks, block) > 1 || plan[m].FactorRank(block) > 0 ||
          plan[m].residual != ResidualKind::kNone) {
        return false;
      }
    }
    return true;
  }

  static std::vector<int> BestChannels(const State& state, Meter& meter, int depth, int width) {
    const std::vector<float> inner = meter.Inputs(state, depth, TapPoint::kDownInput);
    const int block = state.model.plan[Module::kDown].blocks[static_cast<size_t>(depth)];
    const Tensor& tensor = state.model.weights.Get(BlockTensor(block, Module::kDown));
    const std::vector<float> down = ToF32(tensor);
    const auto whole = static_cast<size_t>(tensor.cols());
    std::vector<double> squares(whole), lengths(whole);
    for (size_t i = 0; i < inner.size(); ++i) squares[i % whole] += double{inner[i]} * inner[i];
    for (size_t i = 0; i < down.size(); ++i) lengths[i % whole] += double{down[i]} * down[i];
    std::vector<int> channels(whole);
    std::iota(channels.begin(), channels.end(), 0);
    const auto value = [&](int c) {
      return squares[static_cast<size_t>(c)] * lengths[static_cast<size_t>(c)];
    };
    std::ranges::stable_sort(channels, std::greater<>(), value);
    channels.resize(static_cast<size_t>(width));
    std::ranges::sort(channels);
    return channels;
  }

  static State Narrowed(const State& before, Meter& meter, int original, int width) {
    State state = before;
    SharingPlan& plan = state.model.plan;
    const ModelConfig& config = state.model.config;
    const auto at =
        static_cast<size_t>(std::ranges::find(state.origin, original) - state.origin.begin());
    const int depth = static_cast<int>(at);
    const std::vector<int> channels = BestChannels(before, meter, depth, width);
    for (const Module m : {Module::kGate, Module::kUp, Module::kDown}) {
      if (!config.HasModule(m)) continue;
      Weights& weights = state.model.weights;
      const int block = plan[m].blocks[at];
      const std::string name = BlockTensor(block, m);
      weights.Set(name, Kept(weights.Get(name), channels, m == Module::kDown));
      const std::string bias =
          plan[m].own_bias ? ResidualTensor(depth, m, "bias") : BlockTensor(block, m, "bias");
      if (m != Module::kDown && weights.Has(bias)) {
        weights.Set(bias, Kept(weights.Get(bias), channels, false));
      }
    }
    if (plan.ffn_widths.empty()) {
      plan.ffn_widths.assign(static_cast<size_t>(plan.depths), config.d_ff);
    }
    plan.ffn_widths[at] = width;
    return state;
  }
};

}  // namespace

std::unique_ptr<Operator> MakeNarrow() { return std::make_unique<NarrowOperator>(); }

}  // namespace rondo
