// The base model of the adapters' seeds.
#pragma once

#include <utility>
#include <vector>

#include "rondo/model.h"

namespace rondo::fuzz {

inline Model SmallModel() {
  Model model;
  ModelConfig& config = model.config;
  config.family = "llama";
  config.layers = 2;
  config.d_model = 8;
  config.d_ff = 8;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 4;
  config.rotary_dim = 4;
  config.vocab = 6;
  config.max_positions = 16;
  model.plan = IdentityPlan(config);
  for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
    int64_t count = 1;
    for (const int64_t size : spec.shape) count *= size;
    model.weights.Set(spec.name,
                      Tensor::FromF32(spec.shape, std::vector<float>(static_cast<size_t>(count))));
  }
  return model;
}

}  // namespace rondo::fuzz
