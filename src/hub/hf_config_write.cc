#include <cmath>
#include <nlohmann/json.hpp>

#include "hub/hf_activation.h"
#include "hub/hf_config.h"
#include "hub/hf_family.h"
#include "hub/hf_rope.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

// Sets a key if the family has it.
template <typename T>
void Put(Json* json, std::string_view key, const T& value) {
  if (!key.empty()) (*json)[std::string(key)] = value;
}

void WriteSizes(const ModelConfig& config, const HfFamily& family, Json* json) {
  const HfKeys& keys = family.keys;
  Put(json, "vocab_size", config.vocab);
  Put(json, keys.d_model, config.d_model);
  Put(json, keys.d_ff, config.d_ff);
  Put(json, keys.layers, config.layers);
  Put(json, keys.heads, config.heads);
  Put(json, keys.kv_heads, config.kv_heads);
  Put(json, keys.head_dim, config.head_dim);
  Put(json, keys.max_positions, config.max_positions);
  Put(json, keys.norm_eps, Shortest(config.norm_eps));
  const bool tanh_gelu = config.activation == Activation::kGeluTanh;
  Put(json, keys.activation,
      tanh_gelu ? std::string(family.tanh_gelu) : ActivationName(config.activation));
}

void WriteSwitches(const ModelConfig& config, const HfKeys& keys, Json* json) {
  // One key for both: the one that is there alone is the field that reading back will miss.
  Put(json, keys.attention_bias, config.qkv_bias && config.o_bias);
  Put(json, keys.mlp_bias, config.ffn_bias);
  Put(json, keys.parallel_residual, config.parallel_residual);
  Put(json, "tie_word_embeddings", config.tied_embeddings);
  Put(json, keys.scale_attention, config.attn_scale != 1);
  const double scale = config.attn_scale;
  Put(json, keys.query_scalar, std::lround(1 / (scale * scale)));
  if (config.logit_softcap != 0) Put(json, keys.logit_softcap, Shortest(config.logit_softcap));
}

void WriteWindow(const ModelConfig& config, const HfFamily& family, Json* json) {
  if (family.window == HfWindow::kNone) return;
  const bool any = !config.local_layers.empty();
  (*json)["sliding_window"] = any ? Json(config.sliding_window) : Json(nullptr);
  if (family.window == HfWindow::kAllLayers) return;
  Json types = Json::array();
  int leading_global = 0;
  for (int i = 0; i < config.layers; ++i) {
    types.push_back(config.IsLocal(i) ? "sliding_attention" : "full_attention");
    if (leading_global == i && !config.IsLocal(i)) ++leading_global;
  }
  if (family.window == HfWindow::kAfterLayer) {
    (*json)["use_sliding_window"] = any;
    (*json)["max_window_layers"] = leading_global;
  }
  (*json)["layer_types"] = std::move(types);
}

void WriteTokens(const ModelConfig& config, Json* json) {
  (*json)["bos_token_id"] = config.bos_token < 0 ? Json(nullptr) : Json(config.bos_token);
  Json eos = config.eos_tokens;
  if (config.eos_tokens.empty()) eos = nullptr;
  if (config.eos_tokens.size() == 1) eos = config.eos_tokens[0];
  (*json)["eos_token_id"] = std::move(eos);
}

// The first field in which two configurations differ; empty if they are equal.
std::string DifferingField(const ModelConfig& a, const ModelConfig& b) {
  std::string field;
  const auto check = [&](const char* name, const auto& x, const auto& y) {
    if (field.empty() && !(x == y)) field = name;
  };
  check("layers", a.layers, b.layers);
  check("d_model", a.d_model, b.d_model);
  check("d_ff", a.d_ff, b.d_ff);
  check("heads", a.heads, b.heads);
  check("kv_heads", a.kv_heads, b.kv_heads);
  check("head_dim", a.head_dim, b.head_dim);
  check("norm", a.norm, b.norm);
  check("qk_norm", a.qk_norm, b.qk_norm);
  check("post_norms", a.post_norms, b.post_norms);
  check("parallel_residual", a.parallel_residual, b.parallel_residual);
  check("positions", a.positions, b.positions);
  check("rotary_dim", a.rotary_dim, b.rotary_dim);
  check("rope_theta", a.rope_theta, b.rope_theta);
  check("rope_scaling", a.rope_scaling, b.rope_scaling);
  check("rope_local_theta", a.rope_local_theta, b.rope_local_theta);
  check("activation", a.activation, b.activation);
  check("gated_ffn", a.gated_ffn, b.gated_ffn);
  check("embed_scale", a.embed_scale, b.embed_scale);
  check("attn_scale", a.attn_scale, b.attn_scale);
  check("attn_softcap", a.attn_softcap, b.attn_softcap);
  check("logit_softcap", a.logit_softcap, b.logit_softcap);
  check("sliding_window", a.sliding_window, b.sliding_window);
  check("local_layers", a.local_layers, b.local_layers);
  check("qkv_bias", a.qkv_bias, b.qkv_bias);
  check("o_bias", a.o_bias, b.o_bias);
  check("ffn_bias", a.ffn_bias, b.ffn_bias);
  check("tied_embeddings", a.tied_embeddings, b.tied_embeddings);
  check("head_bias", a.head_bias, b.head_bias);
  if (field.empty() && !(a == b)) field = "configuration";
  return field;
}

}  // namespace

Json HfConfigToJson(const ModelConfig& config) {
  const HfFamily& family = FindHfFamily(config.family, {});
  Json json;
  json["architectures"] = Json::array({family.architecture});
  json["model_type"] = config.family;
  WriteSizes(config, family, &json);
  WriteSwitches(config, family.keys, &json);
  WriteHfRope(config, family, &json);
  WriteWindow(config, family, &json);
  WriteTokens(config, &json);
  // What the family cannot express would be lost in silence; reading back finds it.
  const ModelConfig back = HfConfigFromJson(nlohmann::json::parse(json.dump()), {});
  if (const std::string field = DifferingField(config, back); !field.empty()) {
    throw Error({.function = "HfConfigToJson",
                 .problem = "a value that the Hugging Face family " + config.family +
                            " has no way to express",
                 .field = field});
  }
  return json;
}

}  // namespace rondo
