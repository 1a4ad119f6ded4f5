// Small random models of any configuration and plan for engine tests.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "rondo/model.h"

namespace rondo {

// A Llama-like decoder; tests change what they need.
inline ModelConfig SmallConfig() {
  ModelConfig config;
  config.family = "llama";
  config.layers = 4;
  config.d_model = 24;
  config.d_ff = 40;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.vocab = 50;
  config.max_positions = 64;
  config.rotary_dim = 6;
  config.attn_scale = 1 / std::sqrt(6.0f);
  return config;
}

// One of six layers, for plans that loop.
inline ModelConfig LoopedConfig() {
  ModelConfig config = SmallConfig();
  config.layers = 6;
  return config;
}

// Weights ~ N(0, 1/in), so activations keep their size through any depth; norm gains near one.
inline Tensor RandomTensor(const TensorSpec& spec, Rng& rng) {
  std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
  const bool vector = spec.shape.size() == 1;
  const bool near_one =
      vector && (spec.name.ends_with("norm.weight") || spec.name.ends_with(".scale") ||
                 spec.name.ends_with(".magnitude"));
  const double scale = vector || spec.name == "embed.weight" || IsPrefixTensor(spec.name)
                           ? 0.3
                           : 1 / std::sqrt(static_cast<double>(spec.shape.back()));
  for (float& value : values) {
    value = static_cast<float>((near_one ? 1.0 : 0.0) + scale * rng.Normal());
  }
  return Tensor::FromF32(spec.shape, std::move(values));
}

inline Model RandomModel(const ModelConfig& config, const SharingPlan& plan, uint64_t seed = 1) {
  Model model{.config = config, .plan = plan, .weights = {}, .path = {}};
  Rng rng(seed);
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    model.weights.Set(spec.name, RandomTensor(spec, rng));
  }
  return model;
}

inline Model RandomModel(const ModelConfig& config, uint64_t seed = 1) {
  return RandomModel(config, IdentityPlan(config), seed);
}

// Every module tied in a cycle of `blocks`; linears with a residual of the given kind and rank.
inline SharingPlan CyclePlan(const ModelConfig& config, int blocks, ResidualKind kind, int rank) {
  SharingPlan plan = IdentityPlan(config);
  plan.order = "cycle";
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    for (int depth = 0; depth < config.layers; ++depth) {
      plan[m].blocks[static_cast<size_t>(depth)] = depth % blocks;
    }
    if (!IsLinear(m)) continue;
    plan[m].residual = kind;
    if (kind != ResidualKind::kNone && kind != ResidualKind::kMulDiag) {
      plan[m].ranks.assign(static_cast<size_t>(config.layers), rank);
    }
  }
  return plan;
}

// The plan with `count` prefix vectors at every depth.
inline SharingPlan WithPrefix(SharingPlan plan, int count) {
  plan.prefix = count;
  return plan;
}

inline std::vector<int32_t> RandomTokens(int count, int vocab, uint64_t seed = 7) {
  Rng rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Uniform() * vocab);
  return tokens;
}

}  // namespace rondo
