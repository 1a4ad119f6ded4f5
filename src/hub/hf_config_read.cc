#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "base/with_file.h"
#include "hub/hf_activation.h"
#include "hub/hf_config.h"
#include "hub/hf_family.h"
#include "hub/hf_rope.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr const char* kOldMaxPositions = "max_sequence_length";

void ReadSizes(JsonObject& object, const HfFamily& family, ModelConfig* config) {
  const HfKeys& keys = family.keys;
  config->vocab = object.Int("vocab_size");
  config->layers = object.Int(keys.layers);
  config->d_model = object.Int(keys.d_model);
  config->heads = object.Int(keys.heads);
  if (family.ffn_multiple > 0 && object.Find(keys.d_ff) == nullptr) {
    config->d_ff = family.ffn_multiple * config->d_model;
  } else {
    config->d_ff = object.Int(keys.d_ff);
  }
  // LLaMA-1's files have a name of their own for it.
  config->max_positions = object.Int(kOldMaxPositions, config->max_positions);
  config->max_positions = object.Int(keys.max_positions, config->max_positions);
  config->norm_eps = static_cast<float>(object.Number(keys.norm_eps, config->norm_eps));

  // An explicit null means as many as heads, whatever the family's default is.
  const bool null_kv = !keys.kv_heads.empty() && object.Contains(keys.kv_heads) &&
                       object.Find(keys.kv_heads) == nullptr;
  if (null_kv || config->kv_heads == 0) config->kv_heads = config->heads;
  if (!keys.kv_heads.empty()) config->kv_heads = object.Int(keys.kv_heads, config->kv_heads);

  if (!keys.head_dim.empty()) config->head_dim = object.Int(keys.head_dim, config->head_dim);
  if (config->head_dim == 0) {
    if (config->heads < 1 || config->d_model % config->heads != 0) {
      object.Fail(keys.heads, std::to_string(config->heads),
                  "a divisor of " + std::string(keys.d_model));
    }
    config->head_dim = config->d_model / config->heads;
  }
}

void ReadSwitches(JsonObject& object, const HfFamily& family, ModelConfig* config) {
  const HfKeys& keys = family.keys;
  if (!keys.attention_bias.empty()) {
    config->qkv_bias = config->o_bias = object.Bool(keys.attention_bias, config->o_bias);
  }
  if (!keys.mlp_bias.empty()) config->ffn_bias = object.Bool(keys.mlp_bias, config->ffn_bias);
  if (!keys.parallel_residual.empty()) {
    config->parallel_residual = object.Bool(keys.parallel_residual, config->parallel_residual);
  }
  config->tied_embeddings = object.Bool("tie_word_embeddings", config->tied_embeddings);
  const std::string fallback = ActivationName(config->activation);
  const std::string name = object.String(keys.activation, fallback);
  const std::optional<Activation> activation = ActivationFromName(name, family.gelu_is_tanh);
  if (!activation) object.Fail(keys.activation, "'" + name + "'", KnownActivations());
  config->activation = *activation;
}

void ReadScales(JsonObject& object, const HfFamily& family, ModelConfig* config) {
  const HfKeys& keys = family.keys;
  double squared = config->head_dim;  // q·k is divided by its root
  if (!keys.query_scalar.empty()) {
    const double scale = config->attn_scale;
    squared = object.Number(keys.query_scalar, 1 / (scale * scale));
  }
  if (!keys.scale_attention.empty() && !object.Bool(keys.scale_attention, true)) squared = 1;
  config->attn_scale = static_cast<float>(1 / std::sqrt(squared));
  if (family.scaled_embedding) {
    config->embed_scale = static_cast<float>(std::sqrt(static_cast<double>(config->d_model)));
  }
  if (!keys.logit_softcap.empty()) {
    config->logit_softcap = static_cast<float>(object.Number(keys.logit_softcap, 0));
  }
}

constexpr std::string_view kWindowKeys[] = {"sliding_window", "max_window_layers"};

// layer_types, if it is there: [layers], 1 for sliding_attention.
std::optional<std::vector<uint8_t>> ReadLayerTypes(JsonObject& object, int layers) {
  if (object.Find("layer_types") == nullptr) return std::nullopt;
  std::vector<uint8_t> local;
  for (const std::string& type : object.Strings("layer_types")) {
    if (type != "full_attention" && type != "sliding_attention") {
      object.Fail("layer_types", "'" + type + "'", "full_attention or sliding_attention");
    }
    local.push_back(type == "sliding_attention");
  }
  if (local.size() != static_cast<size_t>(layers)) {
    object.Fail("layer_types", std::to_string(local.size()) + " entries",
                "one per layer, " + std::to_string(layers));
  }
  return local;
}

// The window; an explicit null switches it off.
int ReadWindow(JsonObject& object, int fallback) {
  if (object.Contains("sliding_window")) fallback = 0;
  return object.Int("sliding_window", fallback);
}

// A family without windows may carry the keys of one, switched off: models were moved from Qwen's
// files into Llama's.
void RefuseWindow(JsonObject& object, int layers) {
  if (object.Bool("use_sliding_window", false)) {
    object.Fail("use_sliding_window", "true", "false in this family");
  }
  if (object.Find("use_sliding_window") != nullptr) object.Ignore(kWindowKeys);
  const auto local = ReadLayerTypes(object, layers);
  if (local && std::ranges::find(*local, 1) != local->end()) {
    object.Fail("layer_types", "'sliding_attention'", "full_attention alone in this family");
  }
}

void ReadLocalLayers(JsonObject& object, const HfFamily& family, ModelConfig* config) {
  if (family.window == HfWindow::kNone) return RefuseWindow(object, config->layers);
  int window = ReadWindow(object, config->sliding_window);
  std::vector<uint8_t> local(static_cast<size_t>(config->layers), 1);
  if (family.window == HfWindow::kAllLayers) {
    if (window == 0) std::ranges::fill(local, 0);
    if (ReadLayerTypes(object, config->layers).value_or(local) != local) {
      object.Fail("layer_types", "not the same for all layers, or not what sliding_window says",
                  "one kind of attention in this family");
    }
  } else if (family.window == HfWindow::kAfterLayer) {
    if (!object.Bool("use_sliding_window", false)) window = 0;
    const int first = object.Int("max_window_layers", 28);
    for (int i = 0; i < config->layers; ++i)
      local[static_cast<size_t>(i)] = window > 0 && i >= first;
  } else {
    const int pattern = object.Int("sliding_window_pattern", 6);
    if (pattern < 1) object.Fail("sliding_window_pattern", std::to_string(pattern), "1 or more");
    for (int i = 0; i < config->layers; ++i) local[static_cast<size_t>(i)] = (i + 1) % pattern != 0;
  }
  if (family.window != HfWindow::kAllLayers) {
    local = ReadLayerTypes(object, config->layers).value_or(local);
  }
  const bool any = std::find(local.begin(), local.end(), 1) != local.end();
  if (any && window < 1) {
    object.Fail("sliding_window", std::to_string(window), "1 or more, since some layers are local");
  }
  config->sliding_window = any ? window : 0;
  config->local_layers = any ? local : std::vector<uint8_t>{};
}

void ReadTokens(JsonObject& object, ModelConfig* config) {
  if (object.Contains("bos_token_id")) config->bos_token = object.Int("bos_token_id", -1);
  if (!object.Contains("eos_token_id")) return;
  const nlohmann::json* eos = object.Find("eos_token_id");
  config->eos_tokens.clear();
  if (eos == nullptr) return;
  if (eos->is_array()) {
    config->eos_tokens = object.Ints("eos_token_id");
  } else {
    config->eos_tokens = {object.Int("eos_token_id")};
  }
}

void CheckFixedKeys(JsonObject& object, std::span<const HfFixedKey> fixed) {
  for (const auto& [key, value] : fixed) {
    const nlohmann::json* found = object.Find(key);
    if (found == nullptr || found->dump() == value) continue;
    object.Fail(key, JsonExcerpt(*found), std::string(value) + ": nothing else is supported");
  }
}

FieldNames NamesOfFields(const HfKeys& keys) {
  return {{"layers", std::string(keys.layers)},
          {"d_model", std::string(keys.d_model)},
          {"d_ff", std::string(keys.d_ff)},
          {"heads", std::string(keys.heads)},
          {"kv_heads", std::string(keys.kv_heads)},
          {"head_dim", std::string(keys.head_dim)},
          {"vocab", "vocab_size"},
          {"max_positions", std::string(keys.max_positions)},
          {"norm_eps", std::string(keys.norm_eps)},
          {"logit_softcap", std::string(keys.logit_softcap)},
          {"attn_scale", std::string(keys.query_scalar)},
          {"local_layers", "layer_types"}};
}

}  // namespace

ModelConfig HfConfigFromJson(const nlohmann::json& json, const std::string& file) {
  JsonObject object(json, "HfConfigFromJson", file);
  const HfFamily& family = FindHfFamily(object.String("model_type"), file);
  ModelConfig config = family.defaults;
  ReadSizes(object, family, &config);
  constexpr int kMaxLayers = 4096;
  if (config.layers < 1 || config.layers > kMaxLayers) {
    object.Fail(family.keys.layers, std::to_string(config.layers), "1 to 4096");
  }
  ReadSwitches(object, family, &config);
  ReadScales(object, family, &config);
  ReadHfRope(object, family, &config);
  ReadLocalLayers(object, family, &config);
  ReadTokens(object, &config);
  CheckFixedKeys(object, family.fixed_keys);
  CheckFixedKeys(object, HfFixedKeys());
  object.Ignore(family.ignored_keys);
  object.Ignore(HfIgnoredKeys());
  object.RefuseUnknownKeys();
  WithFileNames(file, NamesOfFields(family.keys), [&] { config.Validate(); });
  return config;
}

}  // namespace rondo
