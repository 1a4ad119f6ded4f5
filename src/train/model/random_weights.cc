#include "train/model/random_weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "model/residual_start.h"

namespace rondo {
namespace {

// Modules whose products are added to the residual stream.
constexpr Module kBranchEnds[] = {Module::kO, Module::kDown, Module::kCrossO, Module::kPreDown,
                                  Module::kConvOut};

bool EndsBranch(std::string_view tensor) {
  if (!tensor.ends_with(".weight")) return false;
  tensor.remove_suffix(std::string_view(".weight").size());
  const std::string_view module = tensor.substr(tensor.rfind('.') + 1);
  return std::ranges::any_of(kBranchEnds, [&](Module m) { return Name(m) == module; });
}

void SetZeroResiduals(uint64_t seed, std::string_view scope, Module m, Model& model) {
  for (int depth = 0; depth < model.plan.depths; ++depth) {
    if (!model.plan.HasResidual(m, depth)) continue;
    const int block = model.plan[m].blocks[static_cast<size_t>(depth)];
    Rng rng(seed ^ HashText(std::string(scope) + ResidualTensor(depth, m, "a")));
    for (auto& [part, tensor] : ZeroResidual(model.config, model.plan, m, depth,
                                             model.weights.Get(BlockTensor(block, m)), rng)) {
      model.weights.Set(ResidualTensor(depth, m, part), std::move(tensor));
    }
  }
}

}  // namespace

Tensor RandomTensor(const TensorSpec& spec, double deviation, uint64_t seed) {
  const bool gain = spec.name.ends_with("norm.weight");
  std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)), gain ? 1.0f : 0.0f);
  if (spec.shape.size() > 1) {
    Rng rng(seed ^ HashText(spec.name));
    for (float& value : values) value = static_cast<float>(deviation * rng.Normal());
  }
  return Tensor::FromF32(spec.shape, std::move(values));
}

void SetRandomWeights(uint64_t seed, std::string_view scope,
                      const std::function<double(const TensorSpec&)>& deviation, Model& model) {
  const auto branches =
      std::ranges::count_if(kBranchEnds, [&](Module m) { return model.config.HasModule(m); });
  const double sums = static_cast<double>(branches) * model.plan.depths;
  for (TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    if (spec.name.starts_with("residual.") && !spec.name.ends_with(".bias")) continue;
    const std::string name = spec.name;
    spec.name = std::string(scope) + name;
    const double scale = EndsBranch(name) ? std::sqrt(sums) : 1;
    model.weights.Set(name, RandomTensor(spec, deviation(spec) / scale, seed));
  }
  for (const Module m : kAllModules) {
    if (IsLinear(m) && model.config.HasModule(m)) SetZeroResiduals(seed, scope, m, model);
  }
}

}  // namespace rondo
