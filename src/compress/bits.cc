// Fewer bits: the attention or the feed-forward of one depth, the embedding, or the head goes to
// the next smaller type.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "compress/operator.h"

namespace rondo {
namespace {

constexpr std::array kLadder = {DType::kQ8_0, DType::kQ4_1, DType::kQ4_0, DType::kQ3_1,
                                DType::kQ3_0, DType::kQ2_1, DType::kQ2_0};

std::optional<DType> Below(DType type) {
  if (!IsQuantized(type)) return kLadder.front();
  for (const DType lower : kLadder) {
    const bool smaller = Info(lower).block_bytes * Info(type).block_length <
                         Info(type).block_bytes * Info(lower).block_length;
    if (smaller) return lower;
  }
  return std::nullopt;
}

bool Fits(const Tensor& tensor, DType type) {
  return tensor.shape().size() >= 2 && tensor.cols() % Info(type).block_length == 0;
}

// Tensors that change together, by the name of their group.
std::map<std::string, std::vector<std::string>> Groups(const State& state) {
  const SharingPlan& plan = state.model.plan;
  std::map<std::string, std::vector<std::string>> groups;
  for (const Module m : kAllModules) {
    if (!IsLinear(m)) continue;
    for (int block = 0; block < plan[m].BlockCount(); ++block) {
      const int original = state.origin[static_cast<size_t>(plan.FirstUse(m, block))];
      const std::string group = std::string(Name(GroupOf(m))) + " " + std::to_string(original);
      for (const char* part : {"weight", "a", "b"}) {
        const std::string name = BlockTensor(block, m, part);
        if (state.model.weights.Has(name)) groups[group].push_back(name);
      }
    }
  }
  for (const auto& [name, tensor] : state.model.weights) {
    const bool matrix = tensor.shape().size() >= 2 && name != "positions.weight";
    if (matrix && !name.starts_with("blocks.")) groups[name].push_back(name);
  }
  return groups;
}

class BitsOperator : public Operator {
 public:
  std::string_view name() const override { return "bits"; }

  std::vector<Step> Steps(const State& state) const override {
    std::vector<Step> steps;
    for (const auto& [group, tensors] : Groups(state)) {
      DType largest = DType::kQ2_0;
      for (const std::string& name : tensors) {
        if (!Fits(state.model.weights.Get(name), DType::kQ8_0)) continue;
        const DType type = state.types.at(name);
        if (!Below(largest) || Bytes(type) > Bytes(largest)) largest = type;
      }
      const std::optional<DType> lower = Below(largest);
      if (!lower) continue;
      steps.push_back({.name = "bits " + group + " " + std::string(Info(*lower).name),
                       .apply = [names = tensors, type = *lower](const State& s, Meter&) {
                         return Rounded(s, names, type);
                       }});
    }
    return steps;
  }

 private:
  static double Bytes(DType type) {
    return static_cast<double>(Info(type).block_bytes) /
           static_cast<double>(Info(type).block_length);
  }

  static State Rounded(const State& before, const std::vector<std::string>& names, DType type) {
    State state = before;
    for (const std::string& name : names) {
      const Tensor& tensor = state.model.weights.Get(name);
      if (Fits(tensor, type) && Bytes(state.types.at(name)) > Bytes(type)) state.types[name] = type;
    }
    return state;
  }
};

}  // namespace

std::unique_ptr<Operator> MakeBits() { return std::make_unique<BitsOperator>(); }

}  // namespace rondo
