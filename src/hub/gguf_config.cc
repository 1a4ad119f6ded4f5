#include "hub/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "hub/gguf_rope.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Keys below the architecture's prefix that are read here, or that say nothing about the result.
constexpr std::string_view kUnderstood[] = {"block_count",
                                            "context_length",
                                            "embedding_length",
                                            "feed_forward_length",
                                            "vocab_size",
                                            "attention.head_count",
                                            "attention.head_count_kv",
                                            "attention.key_length",
                                            "attention.value_length",
                                            "attention.layer_norm_epsilon",
                                            "attention.layer_norm_rms_epsilon",
                                            "attention.sliding_window",
                                            "attention.sliding_window_pattern",
                                            "rope.dimension_count",
                                            "rope.freq_base",
                                            "rope.freq_base_swa",
                                            "rope.scaling.type",
                                            "rope.scaling.factor",
                                            "rope.scale_linear",
                                            "rope.scaling.original_context_length",
                                            "rope.scaling.finetuned",
                                            "use_parallel_residual",
                                            "final_logit_softcapping",
                                            "tensor_data_layout"};

// Keys that change the result unless they have this value.
constexpr std::pair<std::string_view, double> kNeutral[] = {
    {"expert_count", 0},         {"expert_used_count", 0},        {"expert_shared_count", 0},
    {"attention.causal", 1},     {"attention.clamp_kqv", 0},      {"attention.max_alibi_bias", 0},
    {"logit_scale", 1},          {"residual_scale", 1},           {"embedding_scale", 1},
    {"nextn_predict_layers", 0}, {"rope.scaling.attn_factor", 1}, {"attn_logit_softcapping", 0},
};

class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, const GgufArch& arch)
      : file_(file), arch_(arch), prefix_(std::string(arch.name) + ".") {}

  ModelConfig Read();

 private:
  std::string Key(std::string_view suffix) const { return prefix_ + std::string(suffix); }
  bool Has(std::string_view suffix) const { return file_.Has(Key(suffix)); }

  [[noreturn]] void Fail(std::string field, std::string problem, std::string expected) const {
    throw Error({.function = "LoadGgufModel",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_.path(),
                 .field = std::move(field)});
  }

  // ModelConfig::Validate checks ranges; here only that the value fits an int.
  int ToInt(std::string_view suffix, int64_t value) const {
    constexpr int64_t kMax = int64_t{1} << 30;
    if (value < 0 || value > kMax) {
      Fail(Key(suffix), "value " + std::to_string(value), "0 to " + std::to_string(kMax));
    }
    return static_cast<int>(value);
  }
  int Int(std::string_view suffix) const { return ToInt(suffix, file_.Int(Key(suffix))); }
  int Int(std::string_view suffix, int fallback) const {
    return ToInt(suffix, file_.Int(Key(suffix), fallback));
  }
  float Float(std::string_view suffix, double fallback) const {
    return static_cast<float>(file_.Float(Key(suffix), fallback));
  }

  void RefuseUnknownKeys() const;
  void RefuseUnlessNeutral(const std::string& key, double neutral) const;
  void ReadSizes(ModelConfig* config) const;
  void ReadHeads(ModelConfig* config) const;
  void ReadRope(ModelConfig* config) const;
  RopeScaling ReadRopeScaling(const ModelConfig& config) const;
  RopeScaling ReadRopeFactors(const Tensor& tensor, const ModelConfig& config) const;
  void ReadWindow(ModelConfig* config) const;
  void ReadBiases(ModelConfig* config) const;
  void ReadTokens(ModelConfig* config) const;

  const GgufFile& file_;
  const GgufArch& arch_;
  const std::string prefix_;
};

void ConfigReader::RefuseUnlessNeutral(const std::string& key, double neutral) const {
  const GgufValue& value = file_.metadata().find(key)->second;
  const auto* flag = std::get_if<bool>(&value);
  const double got = flag != nullptr ? static_cast<double>(*flag) : file_.Float(key);
  if (got != neutral) {
    Fail(key, "value " + std::to_string(got) + " is not supported",
         std::to_string(neutral) + " or no such key");
  }
}

void ConfigReader::RefuseUnknownKeys() const {
  for (const auto& [key, value] : file_.metadata()) {
    if (!key.starts_with(prefix_)) continue;
    const std::string_view suffix = std::string_view(key).substr(prefix_.size());
    if (std::find(std::begin(kUnderstood), std::end(kUnderstood), suffix) !=
        std::end(kUnderstood)) {
      continue;
    }
    const auto* neutral = std::find_if(std::begin(kNeutral), std::end(kNeutral),
                                       [&](const auto& entry) { return entry.first == suffix; });
    if (neutral == std::end(kNeutral)) {
      Fail(key, "metadata key that rondo does not understand",
           "only keys whose effect is known, lest the model be computed wrongly");
    }
    RefuseUnlessNeutral(key, neutral->second);
  }
}

void ConfigReader::ReadSizes(ModelConfig* config) const {
  config->layers = Int("block_count");
  config->d_model = Int("embedding_length");
  config->d_ff = Int("feed_forward_length");
  config->max_positions = Int("context_length");
  const auto embedding = file_.tensors().find(kGgufEmbedding);
  if (embedding == file_.tensors().end()) {
    Fail(std::string(kGgufEmbedding), "missing tensor", {});
  }
  config->vocab = ToInt(kGgufEmbedding, embedding->second.rows());
  if (Has("vocab_size") && Int("vocab_size") != config->vocab) {
    Fail(Key("vocab_size"), "value " + std::to_string(Int("vocab_size")),
         "the " + std::to_string(config->vocab) + " rows of " + std::string(kGgufEmbedding));
  }
  const std::string eps = arch_.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                       : "attention.layer_norm_epsilon";
  config->norm_eps = static_cast<float>(file_.Float(Key(eps)));
}

void ConfigReader::ReadHeads(ModelConfig* config) const {
  config->heads = Int("attention.head_count");
  config->kv_heads = Int("attention.head_count_kv", config->heads);
  if (config->heads == 0) Fail(Key("attention.head_count"), "value 0", "1 or more");
  config->head_dim = Int("attention.key_length", config->d_model / config->heads);
  const int value_length = Int("attention.value_length", config->head_dim);
  if (value_length != config->head_dim) {
    Fail(Key("attention.value_length"), "value " + std::to_string(value_length),
         "the key length " + std::to_string(config->head_dim));
  }
}

RopeScaling ConfigReader::ReadRopeFactors(const Tensor& tensor, const ModelConfig& config) const {
  const int original = Int("rope.scaling.original_context_length", 0);
  const std::vector<float> factors = ToF32(tensor);
  const auto scaling = RecoverLlama3(factors, config.rotary_dim, config.rope_theta, original);
  if (!scaling) {
    Fail(std::string(kGgufRopeFactors), "frequency factors do not follow Llama 3's formula",
         "Llama 3 scaling of " + std::to_string(config.rotary_dim / 2) + " frequencies");
  }
  return *scaling;
}

RopeScaling ConfigReader::ReadRopeScaling(const ModelConfig& config) const {
  // As in llama.cpp: linear unless the file says otherwise, and a factor of 0 means none.
  const std::string type = file_.String(Key("rope.scaling.type"), "linear");
  if (type != "linear" && type != "none") {
    Fail(Key("rope.scaling.type"), "rope scaling '" + type + "' is not supported",
         "none, linear, or Llama 3 frequency factors");
  }
  float factor = Float("rope.scaling.factor", Float("rope.scale_linear", 0));
  if (factor == 0 || type == "none") factor = 1;
  const auto tensor = file_.tensors().find(kGgufRopeFactors);
  if (tensor == file_.tensors().end()) {
    if (factor == 1) return {};
    return {.kind = RopeScalingKind::kLinear, .factor = factor};
  }
  if (!arch_.interleaved_rope || factor != 1) {
    Fail(std::string(kGgufRopeFactors), "frequency factors",
         "only in models of architecture llama without other rope scaling");
  }
  return ReadRopeFactors(tensor->second, config);
}

void ConfigReader::ReadRope(ModelConfig* config) const {
  if (arch_.positions != PositionKind::kRope) return;
  config->rotary_dim = Int("rope.dimension_count", config->head_dim);
  if (arch_.name != "gptneox" && config->rotary_dim != config->head_dim) {
    Fail(Key("rope.dimension_count"), "value " + std::to_string(config->rotary_dim),
         "the head dimension " + std::to_string(config->head_dim));
  }
  config->rope_theta = Float("rope.freq_base", 10000);
  const bool sane = config->rope_theta > 0 && config->rotary_dim > 0 && config->rotary_dim % 2 == 0;
  if (sane) config->rope_scaling = ReadRopeScaling(*config);  // otherwise Validate() will complain
}

void ConfigReader::ReadWindow(ModelConfig* config) const {
  const int window = Int("attention.sliding_window", 0);
  const bool gemma3 = arch_.name == "gemma3";
  for (const char* only : {"attention.sliding_window_pattern", "rope.freq_base_swa"}) {
    if (Has(only) && !gemma3) Fail(Key(only), "not supported in this architecture", "no such key");
  }
  if (window == 0) return;
  config->sliding_window = window;
  config->local_layers.assign(static_cast<size_t>(std::min(config->layers, 1 << 16)), 1);
  if (gemma3) {
    const int every = Int("attention.sliding_window_pattern", kGemma3GlobalEvery);
    for (size_t i = 0; every > 0 && i < config->local_layers.size(); ++i) {
      config->local_layers[i] = i % static_cast<size_t>(every) != static_cast<size_t>(every) - 1;
    }
    config->rope_local_theta = Float("rope.freq_base_swa", kGemma3LocalTheta);
  } else if (arch_.name == "llama") {
    config->family = "mistral";
  } else {
    Fail(Key("attention.sliding_window"), "not supported in this architecture", "no such key");
  }
}

void ConfigReader::ReadBiases(ModelConfig* config) const {
  const auto has = [&](const std::string& name) { return file_.tensors().contains(name); };
  config->qkv_bias =
      has(arch_.fused_qkv ? GgufFusedQkvName(0, "bias") : GgufTensorName(0, Module::kQ, "bias"));
  config->o_bias = has(GgufTensorName(0, Module::kO, "bias"));
  config->ffn_bias = has(GgufTensorName(0, Module::kUp, "bias"));
  config->head_bias = has(std::string(kGgufHeadBias));
  config->tied_embeddings = !has(std::string(kGgufHead));
}

void ConfigReader::ReadTokens(ModelConfig* config) const {
  constexpr int64_t kNone = 0xffffffff;  // how some writers say "no such token"
  const auto token = [&](const char* key) {
    const int64_t id = file_.Int(key, -1);
    if (id == kNone || id == -1) return -1;
    if (id < 0 || id >= config->vocab) {
      Fail(key, "token " + std::to_string(id), "0 to " + std::to_string(config->vocab - 1));
    }
    return static_cast<int>(id);
  };
  config->bos_token = token("tokenizer.ggml.bos_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const int id = token(key);
    auto& eos = config->eos_tokens;
    if (id >= 0 && std::find(eos.begin(), eos.end(), id) == eos.end()) eos.push_back(id);
  }
}

ModelConfig ConfigReader::Read() {
  RefuseUnknownKeys();
  ModelConfig config;
  config.family = arch_.family;
  config.norm = arch_.norm;
  config.positions = arch_.positions;
  config.activation = arch_.activation;
  config.gated_ffn = arch_.gated_ffn;
  config.qk_norm = arch_.qk_norm;
  config.post_norms = arch_.post_norms;
  ReadSizes(&config);
  ReadHeads(&config);
  if (arch_.scaled_embedding) config.embed_scale = std::sqrt(static_cast<float>(config.d_model));
  config.attn_scale = GgufAttentionScale(arch_, config);
  config.parallel_residual = file_.Bool(Key("use_parallel_residual"), arch_.name == "gptneox");
  config.logit_softcap = Float("final_logit_softcapping", 0);
  ReadRope(&config);
  ReadWindow(&config);
  ReadBiases(&config);
  ReadTokens(&config);
  try {
    config.Validate();
  } catch (const Error& error) {  // add the file's name
    Fail(error.info().field, error.info().problem, error.info().expected);
  }
  return config;
}

}  // namespace

ModelConfig ConfigFromGguf(const GgufFile& file, const GgufArch& arch) {
  return ConfigReader(file, arch).Read();
}

}  // namespace rondo
