// Small random models of every family that GGUF can hold.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "rondo/export.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

// A llama-like configuration; the families below change what they have of their own.
inline ModelConfig SmallGgufConfig(const std::string& family) {
  ModelConfig config;
  config.family = family;
  config.layers = 7;
  config.d_model = 32;
  config.d_ff = 48;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.rotary_dim = 8;
  config.vocab = 40;
  config.max_positions = 64;
  config.attn_scale = 1 / std::sqrt(8.0f);
  config.bos_token = 1;
  config.eos_tokens = {2, 5};
  if (family == "mistral") {
    config.sliding_window = 16;
    config.local_layers.assign(7, 1);
  }
  if (family == "gemma" || family == "gemma3_text") {
    config.activation = Activation::kGeluTanh;
    config.embed_scale = std::sqrt(32.0f);
    config.tied_embeddings = true;
  }
  if (family == "gemma3_text") {
    config.qk_norm = config.post_norms = true;
    config.sliding_window = 8;
    config.local_layers = {1, 1, 1, 1, 1, 0, 1};
    config.rope_theta = 1e6f;
    config.rope_local_theta = 10000;
    config.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 8};
  }
  if (family == "qwen2") config.qkv_bias = true;
  if (family == "qwen3") config.qk_norm = true;
  if (family == "gpt_neox" || family == "gpt2") {
    config.norm = NormKind::kLayer;
    config.gated_ffn = false;
    config.kv_heads = 4;
    config.qkv_bias = config.o_bias = config.ffn_bias = true;
  }
  if (family == "gpt_neox") {
    config.activation = Activation::kGelu;
    config.rotary_dim = 4;
    config.parallel_residual = true;
  }
  if (family == "gpt2") {
    config.activation = Activation::kGeluTanh;
    config.positions = PositionKind::kLearned;
    config.rotary_dim = 0;
    config.tied_embeddings = true;
  }
  return config;
}

inline Model RandomGgufModel(const ModelConfig& config) {
  Model model{.config = config, .plan = IdentityPlan(config), .weights = {}, .path = {}};
  Rng rng(1);
  for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
    std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
    for (float& value : values) value = static_cast<float>(rng.Normal());
    model.weights.Set(spec.name, Tensor::FromF32(spec.shape, std::move(values)));
  }
  return model;
}

// A file of llama.cpp's layout with all matrices in one type.
inline void WriteUniformGguf(const Model& model, const std::string& file, DType store) {
  ThreadPool pool(1);
  ExportGguf(model, file, UniformTypes(model, store), pool);
}

}  // namespace rondo
