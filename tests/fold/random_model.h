// Small random models of different make for tests of folding.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "fold/linalg.h"
#include "rondo/model.h"

namespace rondo {

// Llama-like: RMSNorm, gated FFN, grouped queries; out < in, out > in and square matrices.
inline ModelConfig LlamaConfig(int layers) {
  ModelConfig config;
  config.family = "llama";
  config.layers = layers;
  config.d_model = 24;
  config.d_ff = 40;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 4;
  config.vocab = 17;
  config.max_positions = 32;
  config.rotary_dim = 4;
  config.attn_scale = 0.5f;
  return config;
}

// Pythia-like: LayerNorm, biases everywhere, plain FFN, parallel residual.
inline ModelConfig PythiaConfig(int layers) {
  ModelConfig config = LlamaConfig(layers);
  config.family = "gpt_neox";
  config.kv_heads = config.heads;
  config.norm = NormKind::kLayer;
  config.gated_ffn = false;
  config.parallel_residual = true;
  config.qkv_bias = config.o_bias = config.ffn_bias = true;
  return config;
}

// Gemma-3-like: also norms of queries, keys and branch outputs.
inline ModelConfig GemmaConfig(int layers) {
  ModelConfig config = LlamaConfig(layers);
  config.family = "gemma3_text";
  config.qk_norm = config.post_norms = true;
  config.tied_embeddings = true;
  return config;
}

inline std::vector<float> RandomValues(Rng& rng, int64_t count, double deviation = 1,
                                       double mean = 0) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(mean + deviation * rng.Normal());
  return values;
}

inline MatrixF64 RandomMatrix(Rng& rng, int64_t rows, int64_t cols) {
  return Widen(RandomValues(rng, rows * cols), rows, cols);
}

// Linears and biases around 0, norm gains around 1.
inline Model RandomModel(const ModelConfig& config, uint64_t seed) {
  Model model{config, IdentityPlan(config), {}, "random"};
  Rng rng(seed);
  for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
    const bool gain = spec.name.find("norm.weight") != std::string::npos;
    model.weights.Set(
        spec.name, Tensor::FromF32(spec.shape,
                                   RandomValues(rng, ElementCount(spec.shape), 0.3, gain ? 1 : 0)));
  }
  return model;
}

inline double MaxAbsDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    worst = std::max(worst, std::abs(double{a[i]} - b[i]));
  }
  return worst;
}

}  // namespace rondo
