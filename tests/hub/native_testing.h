// Models whose every value is known: tests compare whole tensors with the rule that filled them.
#pragma once

#include <string>
#include <vector>

#include "model/tiny_config.h"
#include "rondo/model.h"

namespace rondo {

// Element i of a tensor: a multiple of 1/8 between -1 and 7/8, exact in f16 and bf16.
inline float RuleValue(const std::string& name, size_t i) {
  unsigned sum = 0;
  for (const char c : name) sum += static_cast<unsigned char>(c);
  return (static_cast<float>((sum + 7 * i) % 16) - 8) / 8;
}

inline std::vector<float> RuleValues(const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(ElementCount(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = RuleValue(name, i);
  return values;
}

inline Model RuleModel(const ModelConfig& config, const SharingPlan& plan) {
  Model model{.config = config, .plan = plan, .weights = {}, .path = {}};
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    model.weights.Set(spec.name, Tensor::FromF32(spec.shape, RuleValues(spec.name, spec.shape)));
  }
  return model;
}

// Two blocks in a cycle over four depths, rank-2 LoRA on q and up, the FFN norm absorbed: the plan
// of the model in tests/data/native-v1.
inline SharingPlan NativeV1Plan() {
  SharingPlan plan = IdentityPlan(TinyLlamaConfig());
  plan.order = "cycle";
  plan.loops = 2;
  for (const Module m : kAllModules) {
    if (IsLinear(m) && !plan[m].blocks.empty()) plan[m].blocks = {0, 1, 0, 1};
  }
  for (const Module m : {Module::kQ, Module::kUp}) {
    plan[m].residual = ResidualKind::kLora;
    plan[m].ranks.assign(4, 2);
  }
  plan[Module::kFfnNorm].blocks.assign(4, kAbsorbed);
  return plan;
}

}  // namespace rondo
