#include "rondo/model_config.h"

#include <cmath>

#include "rondo/error.h"

namespace rondo {
namespace {

void Require(bool ok, const char* field, const std::string& got, const char* expected) {
  if (ok) return;
  throw Error({.function = "ModelConfig::Validate",
               .problem = "value " + got,
               .expected = expected,
               .file = {},
               .field = field});
}

void RequirePositive(int value, const char* field) {
  constexpr int kMax = 1 << 24;  // far above any model, far below int overflow in products
  Require(value > 0 && value <= kMax, field, std::to_string(value), "1 to 16777216");
}

void RequireFinite(float value, const char* field) {
  Require(std::isfinite(value) && value >= 0, field, std::to_string(value),
          "a finite number, 0 or more");
}

}  // namespace

bool ModelConfig::HasModule(Module m) const {
  switch (m) {
    case Module::kGate:
      return gated_ffn;
    case Module::kQNorm:
    case Module::kKNorm:
      return qk_norm;
    case Module::kPostAttnNorm:
    case Module::kPostFfnNorm:
      return post_norms;
    case Module::kCrossQ:
    case Module::kCrossK:
    case Module::kCrossV:
    case Module::kCrossO:
    case Module::kCrossNorm:
      return cross_attention;
    case Module::kPreUp:
    case Module::kPreDown:
    case Module::kPreFfnNorm:
    case Module::kConvIn:
    case Module::kConvOut:
    case Module::kConvNorm:
    case Module::kConvMidNorm:
    case Module::kConvDepth:
    case Module::kOutNorm:
      return conv_kernel > 0;
    default:
      return true;
  }
}

bool ModelConfig::HasBias(Module m) const {
  if (!HasModule(m)) return false;
  switch (m) {
    case Module::kQ:
    case Module::kK:
    case Module::kV:
    case Module::kCrossQ:
    case Module::kCrossK:
    case Module::kCrossV:
      return qkv_bias;
    case Module::kO:
    case Module::kCrossO:
      return o_bias;
    case Module::kGate:
    case Module::kUp:
    case Module::kDown:
    case Module::kPreUp:
    case Module::kPreDown:
    case Module::kConvIn:
    case Module::kConvOut:
    case Module::kConvDepth:
      return ffn_bias;
    default:
      return norm == NormKind::kLayer;
  }
}

Shape ModelConfig::ModuleShape(Module m) const {
  const int64_t d = d_model, q = int64_t{heads} * head_dim, kv = int64_t{kv_heads} * head_dim;
  switch (m) {
    case Module::kQ:
    case Module::kCrossQ:
      return {q, d};
    case Module::kK:
    case Module::kV:
    case Module::kCrossK:
    case Module::kCrossV:
      return {kv, d};
    case Module::kO:
    case Module::kCrossO:
      return {d, q};
    case Module::kGate:
    case Module::kUp:
    case Module::kPreUp:
      return {d_ff, d};
    case Module::kDown:
    case Module::kPreDown:
      return {d, d_ff};
    case Module::kConvIn:
      return {2 * d, d};
    case Module::kConvOut:
      return {d, d};
    case Module::kConvDepth:
      return {d, conv_kernel};
    case Module::kQNorm:
    case Module::kKNorm:
      return {head_dim};
    default:
      return {d};
  }
}

void ModelConfig::Validate() const {
  constexpr int kMaxLayers = 4096;
  Require(layers > 0 && layers <= kMaxLayers, "layers", std::to_string(layers), "1 to 4096");
  RequirePositive(d_model, "d_model");
  RequirePositive(d_ff, "d_ff");
  RequirePositive(heads, "heads");
  RequirePositive(kv_heads, "kv_heads");
  RequirePositive(head_dim, "head_dim");
  if (causal) {
    RequirePositive(vocab, "vocab");
  } else {
    Require(vocab == 0, "vocab", std::to_string(vocab), "0: an encoder has no embedding");
    Require(!cross_attention, "cross_attention", "true", "false for an encoder");
  }
  Require(conv_kernel == 0 || (conv_kernel > 0 && conv_kernel < 1024 && conv_kernel % 2 == 1),
          "conv_kernel", std::to_string(conv_kernel), "0, or an odd number up to 1023");
  RequirePositive(max_positions, "max_positions");
  Require(heads % kv_heads == 0, "kv_heads", std::to_string(kv_heads), "a divisor of heads");
  Require(int64_t{heads} * head_dim <= (1 << 24), "head_dim", std::to_string(head_dim),
          "heads * head_dim of at most 16777216");
  RequireFinite(norm_eps, "norm_eps");
  RequireFinite(attn_softcap, "attn_softcap");
  RequireFinite(logit_softcap, "logit_softcap");
  Require(std::isfinite(attn_scale) && attn_scale > 0, "attn_scale", std::to_string(attn_scale),
          "a positive number");
  Require(std::isfinite(embed_scale) && embed_scale > 0, "embed_scale", std::to_string(embed_scale),
          "a positive number");
  if (positions == PositionKind::kRope) {
    Require(rotary_dim > 0 && rotary_dim <= head_dim && rotary_dim % 2 == 0, "rotary_dim",
            std::to_string(rotary_dim), "an even number, at most head_dim");
    Require(std::isfinite(rope_theta) && rope_theta > 0, "rope_theta", std::to_string(rope_theta),
            "a positive number");
    RequireFinite(rope_local_theta, "rope_local_theta");
    Require(std::isfinite(rope_scaling.factor) && rope_scaling.factor > 0, "rope_scaling.factor",
            std::to_string(rope_scaling.factor), "a positive number");
  }
  if (!local_layers.empty()) {
    Require(local_layers.size() == static_cast<size_t>(layers), "local_layers",
            std::to_string(local_layers.size()) + " entries", "one per layer");
    Require(sliding_window > 0, "sliding_window", std::to_string(sliding_window),
            "1 or more, since some layers are local");
  }
}

}  // namespace rondo
