#include "hub/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/with_file.h"
#include "hub/gguf_rope.h"
#include "hub/hf_rope.h"
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
                                            "rope.global.freq_base",
                                            "rope.local.freq_base",
                                            "rope.scaling.type",
                                            "rope.scaling.factor",
                                            "rope.scale_linear",
                                            "rope.scaling.original_context_length",
                                            "rope.scaling.finetuned",
                                            "rope.scaling.attn_factor",
                                            "rope.scaling.yarn_beta_fast",
                                            "rope.scaling.yarn_beta_slow",
                                            "use_parallel_residual",
                                            "final_logit_softcapping",
                                            "tensor_data_layout"};

// Keys that change the result unless they have this value.
constexpr std::pair<std::string_view, double> kNeutral[] = {
    {"expert_count", 0},
    {"expert_used_count", 0},
    {"expert_shared_count", 0},
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"attention.max_alibi_bias", 0},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"embedding_scale", 1},
    {"nextn_predict_layers", 0},
    {"attn_logit_softcapping", 0},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.yarn_attn_factor", 1},
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
  int Int(std::string_view suffix) const {
    if (const auto* values = Array<int64_t>(suffix)) return ToInt(suffix, SameOf(suffix, *values));
    return ToInt(suffix, file_.Int(Key(suffix)));
  }
  int Int(std::string_view suffix, int fallback) const {
    return Has(suffix) ? Int(suffix) : fallback;
  }
  float Float(std::string_view suffix) const {
    if (const auto* values = Array<double>(suffix)) {
      return static_cast<float>(SameOf(suffix, *values));
    }
    return static_cast<float>(file_.Float(Key(suffix)));
  }
  float Float(std::string_view suffix, double fallback) const {
    return Has(suffix) ? Float(suffix) : static_cast<float>(fallback);
  }
  // Converters may write a value once for each layer; null where it is a plain one.
  template <typename T>
  const std::vector<T>* Array(std::string_view suffix) const {
    const auto found = file_.metadata().find(Key(suffix));
    return found == file_.metadata().end() ? nullptr : std::get_if<std::vector<T>>(&found->second);
  }
  template <typename T>
  T SameOf(std::string_view suffix, const std::vector<T>& values) const {
    CheckPerLayer(suffix, values.size());
    for (size_t i = 1; i < values.size(); ++i) {
      if (values[i] == values[0]) continue;
      Fail(Key(suffix),
           std::to_string(values[i]) + " in layer " + std::to_string(i) + " and " +
               std::to_string(values[0]) + " in layer 0",
           "the same value for all layers");
    }
    return values[0];
  }
  void CheckPerLayer(std::string_view suffix, size_t count) const {
    const int64_t layers = file_.Int(Key("block_count"));
    if (count > 0 && static_cast<int64_t>(count) == layers) return;
    Fail(Key(suffix), std::to_string(count) + " values",
         "one value, or one for each of the " + std::to_string(layers) + " layers");
  }

  void RefuseUnknownKeys() const;
  void RefuseUnlessNeutral(const std::string& key, double neutral) const;
  void ReadSizes(ModelConfig* config) const;
  void ReadHeads(ModelConfig* config) const;
  void ReadRope(ModelConfig* config) const;
  RopeScaling ReadRopeScaling(const ModelConfig& config) const;
  RopeScaling ReadRopeFactors(const Tensor& tensor, const ModelConfig& config) const;
  RopeScaling ReadYarn(const ModelConfig& config, float factor) const;
  RopeScaling ReadLongRope(const ModelConfig& config, float factor) const;
  std::vector<uint8_t> ReadPattern(int layers) const;
  void ReadWindow(ModelConfig* config) const;
  void ReadBiases(ModelConfig* config) const;
  void ReadTokens(ModelConfig* config) const;
  FieldNames NamesOfFields() const;

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
  // Ollama's files of Gemma 3 leave it out.
  constexpr double kGemma3Eps = 1e-6;
  config->norm_eps = arch_.name == "gemma3" ? Float(eps, kGemma3Eps) : Float(eps);
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

// llama.cpp multiplies its own attention factor by the file's.
RopeScaling ConfigReader::ReadYarn(const ModelConfig& config, float factor) const {
  RopeScaling scaling{.kind = RopeScalingKind::kYarn, .factor = factor};
  scaling.original_max_positions =
      Int("rope.scaling.original_context_length", config.max_positions);
  scaling.beta_fast = Float("rope.scaling.yarn_beta_fast", scaling.beta_fast);
  scaling.beta_slow = Float("rope.scaling.yarn_beta_slow", scaling.beta_slow);
  scaling.attention_factor = Float("rope.scaling.attn_factor", 1) * YarnAttentionFactor(factor);
  return scaling;
}

RopeScaling ConfigReader::ReadLongRope(const ModelConfig& config, float factor) const {
  RopeScaling scaling{.kind = RopeScalingKind::kLongRope, .factor = factor};
  scaling.original_max_positions =
      Int("rope.scaling.original_context_length", config.max_positions);
  scaling.attention_factor = Float("rope.scaling.attn_factor", 1);
  const auto read = [&](std::string_view name, std::vector<float>* factors) {
    const auto found = file_.tensors().find(name);
    if (found == file_.tensors().end()) Fail(std::string(name), "missing tensor", {});
    *factors = ToF32(found->second);
    const auto wanted = static_cast<size_t>(config.rotary_dim / 2);
    if (factors->size() == wanted) return;
    Fail(std::string(name), std::to_string(factors->size()) + " factors",
         std::to_string(wanted) + ", one for each frequency");
  };
  read(kGgufShortFactors, &scaling.short_factors);
  read(kGgufLongFactors, &scaling.long_factors);
  return scaling;
}

RopeScaling ConfigReader::ReadRopeScaling(const ModelConfig& config) const {
  // As in llama.cpp: linear unless the file says otherwise, and a factor of 0 means none.
  const std::string type = file_.String(Key("rope.scaling.type"), "linear");
  float factor = Float("rope.scaling.factor", Float("rope.scale_linear", 0));
  if (factor == 0 || type == "none") factor = 1;
  const auto has = [&](std::string_view name) { return file_.tensors().contains(name); };
  if ((has(kGgufShortFactors) || has(kGgufLongFactors)) && type != "longrope") {
    Fail(std::string(kGgufLongFactors), "frequency factors", "rope.scaling.type longrope");
  }
  if (type == "yarn") return ReadYarn(config, factor);
  if (type == "longrope" && arch_.name == "llama") return ReadLongRope(config, factor);
  if (type != "linear" && type != "none") {
    Fail(Key("rope.scaling.type"), "rope scaling '" + type + "' is not supported",
         "none, linear, yarn, longrope (llama alone), or Llama 3 frequency factors");
  }
  if (const float attention = Float("rope.scaling.attn_factor", 1); attention != 1) {
    Fail(Key("rope.scaling.attn_factor"), "value " + std::to_string(attention),
         "1 without yarn or longrope scaling");
  }
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
  // Ollama has names of its own for Gemma 3's two.
  constexpr double kGemma3Theta = 1e6;
  const double fallback = Has("rope.local.freq_base") ? kGemma3Theta : 10000;
  config->rope_theta = Float("rope.freq_base", Float("rope.global.freq_base", fallback));
  const bool sane = config->rope_theta > 0 && config->rotary_dim > 0 && config->rotary_dim % 2 == 0;
  if (!sane) return;  // Validate() will complain
  config->rope_scaling = ReadRopeScaling(*config);
  config->max_positions = RopeReach(config->rope_scaling, config->max_positions);
}

// [layers] of Gemma 3, 1 for local: every n-th is not, or a switch for each.
std::vector<uint8_t> ConfigReader::ReadPattern(int layers) const {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  if (const auto* flags = Array<bool>(kKey)) {
    CheckPerLayer(kKey, flags->size());
    return {flags->begin(), flags->end()};
  }
  std::vector<uint8_t> local(static_cast<size_t>(layers), 1);
  if (const auto* flags = Array<int64_t>(kKey)) {
    CheckPerLayer(kKey, flags->size());
    for (size_t i = 0; i < local.size(); ++i) local[i] = (*flags)[i] != 0;
    return local;
  }
  const int every = Int(kKey, kGemma3GlobalEvery);
  for (int i = 0; every > 0 && i < layers; ++i)
    local[static_cast<size_t>(i)] = (i + 1) % every != 0;
  return local;
}

void ConfigReader::ReadWindow(ModelConfig* config) const {
  const int window = Int("attention.sliding_window", 0);
  const bool gemma3 = arch_.name == "gemma3";
  for (const char* only : {"attention.sliding_window_pattern", "rope.freq_base_swa",
                           "rope.global.freq_base", "rope.local.freq_base"}) {
    if (Has(only) && !gemma3) Fail(Key(only), "not supported in this architecture", "no such key");
  }
  if (window == 0) return;
  config->sliding_window = window;
  config->local_layers.assign(static_cast<size_t>(std::min(config->layers, 1 << 16)), 1);
  if (gemma3) {
    config->local_layers = ReadPattern(static_cast<int>(config->local_layers.size()));
    config->rope_local_theta =
        Float("rope.freq_base_swa", Float("rope.local.freq_base", kGemma3LocalTheta));
  } else if (arch_.name == "llama") {
    config->family = "mistral";
  } else {
    Fail(Key("attention.sliding_window"), "not supported in this architecture", "no such key");
  }
}

// Some converters store a tied embedding a second time, as the head.
bool HeadIsEmbedding(const GgufFile& file) {
  const auto head = file.tensors().find(kGgufHead), embedding = file.tensors().find(kGgufEmbedding);
  if (head == file.tensors().end() || embedding == file.tensors().end()) return false;
  const Tensor &a = head->second, &b = embedding->second;
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::ranges::equal(a.bytes(), b.bytes());
}

void ConfigReader::ReadBiases(ModelConfig* config) const {
  const auto has = [&](const std::string& name) { return file_.tensors().contains(name); };
  config->qkv_bias =
      has(arch_.fused_qkv ? GgufFusedQkvName(0, "bias") : GgufTensorName(0, Module::kQ, "bias"));
  config->o_bias = has(GgufTensorName(0, Module::kO, "bias"));
  config->ffn_bias = has(GgufTensorName(0, Module::kUp, "bias"));
  config->head_bias = has(std::string(kGgufHeadBias));
  config->tied_embeddings = !has(std::string(kGgufHead)) || HeadIsEmbedding(file_);
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
  WithFileNames(file_.path(), NamesOfFields(), [&] { config.Validate(); });
  return config;
}

FieldNames ConfigReader::NamesOfFields() const {
  const bool rms = arch_.norm == NormKind::kRms;
  return {
      {"layers", Key("block_count")},
      {"d_model", Key("embedding_length")},
      {"d_ff", Key("feed_forward_length")},
      {"heads", Key("attention.head_count")},
      {"kv_heads", Key("attention.head_count_kv")},
      {"head_dim", Key("attention.key_length")},
      {"max_positions", Key("context_length")},
      {"rotary_dim", Key("rope.dimension_count")},
      {"rope_theta", Key("rope.freq_base")},
      {"rope_local_theta", Key("rope.freq_base_swa")},
      {"rope_scaling.factor", Key("rope.scaling.factor")},
      {"norm_eps", Key(rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon")},
      {"logit_softcap", Key("final_logit_softcapping")},
      {"sliding_window", Key("attention.sliding_window")}};
}

}  // namespace

ModelConfig ConfigFromGguf(const GgufFile& file, const GgufArch& arch) {
  return ConfigReader(file, arch).Read();
}

}  // namespace rondo
