// A small configuration that tests vary.
#pragma once

#include "rondo/model_config.h"

namespace rondo {

// A Llama of 4 layers: d 8, FFN 12, 4 heads of 2 over 2 KV heads, vocabulary 16.
inline ModelConfig TinyLlamaConfig() {
  return {.family = "llama",
          .layers = 4,
          .d_model = 8,
          .d_ff = 12,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 2,
          .vocab = 16,
          .max_positions = 32,
          .norm_eps = 1e-5f,
          .rotary_dim = 2,
          .attn_scale = 0.70710678f};
}

// A GPT-2 of the same size: LayerNorm, biases everywhere, learned positions, tied head.
inline ModelConfig TinyGpt2Config() {
  ModelConfig config = TinyLlamaConfig();
  config.family = "gpt2";
  config.kv_heads = 4;
  config.norm = NormKind::kLayer;
  config.positions = PositionKind::kLearned;
  config.rotary_dim = 0;
  config.activation = Activation::kGeluTanh;
  config.gated_ffn = false;
  config.qkv_bias = config.o_bias = config.ffn_bias = true;
  config.tied_embeddings = true;
  return config;
}

}  // namespace rondo
