// config.json of published models and of transformers 5, read into ModelConfig and written back.
#include "hub/hf_config.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "model/tiny_config.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// SmolLM2-135M-Instruct.
const char kSmolLm2[] = R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
  "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
  "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
  "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
  "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
  "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152})";

// Llama 3.2 1B.
const char kLlama3[] = R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
  "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
  "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false,
  "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16,
  "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                   "original_max_position_embeddings": 8192, "rope_type": "llama3"},
  "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256})";

// Mistral 7B v0.1.
const char kMistral[] = R"({"architectures": ["MistralForCausalLM"], "bos_token_id": 1,
  "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
  "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
  "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
  "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0",
  "use_cache": true, "vocab_size": 32000})";

// Gemma 2B (the first Gemma).
const char kGemma[] = R"({"architectures": ["GemmaForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 2, "eos_token_id": 1, "head_dim": 256,
  "hidden_act": "gelu", "hidden_activation": null, "hidden_size": 2048,
  "initializer_range": 0.02, "intermediate_size": 16384, "max_position_embeddings": 8192,
  "model_type": "gemma", "num_attention_heads": 8, "num_hidden_layers": 18,
  "num_key_value_heads": 1, "pad_token_id": 0, "rms_norm_eps": 1e-06, "rope_scaling": null,
  "rope_theta": 10000.0, "torch_dtype": "bfloat16", "transformers_version": "4.38.0.dev0",
  "use_cache": true, "vocab_size": 256000})";

// Gemma 3 1B (text), which leaves most keys to their defaults.
const char kGemma3[] = R"({"architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "attn_logit_softcapping": null, "bos_token_id": 2,
  "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": null,
  "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
  "initializer_range": 0.02, "intermediate_size": 6912, "max_position_embeddings": 32768,
  "model_type": "gemma3_text", "num_attention_heads": 4, "num_hidden_layers": 26,
  "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256,
  "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000, "rope_scaling": null,
  "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
  "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0", "use_cache": true,
  "vocab_size": 262144})";

// Qwen2.5 0.5B.
const char kQwen2[] = R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
  "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896,
  "initializer_range": 0.02, "intermediate_size": 4864, "max_position_embeddings": 32768,
  "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
  "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
  "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true,
  "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936})";

// Qwen3 0.6B.
const char kQwen3[] = R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128,
  "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
  "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
  "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
  "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
  "sliding_window": null, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
  "vocab_size": 151936})";

// Pythia 1B.
const char kPythia[] = R"({"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0,
  "eos_token_id": 0, "hidden_act": "gelu", "hidden_size": 2048, "initializer_range": 0.02,
  "intermediate_size": 8192, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
  "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 16,
  "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false,
  "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
  "use_parallel_residual": true, "vocab_size": 50304})";

// GPT-2 (124M).
const char kGpt2[] = R"({"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
  "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
  "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024,
  "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1,
  "summary_activation": null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true,
  "summary_type": "cls_index", "summary_use_proj": true,
  "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
  "vocab_size": 50257})";

ModelConfig Read(const char* text) { return HfConfigFromJson(json::parse(text), "config.json"); }

ModelConfig ReadWith(const char* text, const json& changes) {
  json config = json::parse(text);
  config.update(changes);
  return HfConfigFromJson(config, "config.json");
}

TEST(HfConfig, SmolLm2) {
  const ModelConfig c = Read(kSmolLm2);
  EXPECT_EQ(c.layers, 30);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.kv_heads, 3);
  EXPECT_EQ(c.rotary_dim, 64);
  EXPECT_EQ(c.rope_theta, 100000);
  EXPECT_EQ(c.attn_scale, 0.125f);
  EXPECT_EQ(c.norm_eps, 1e-5f);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_FALSE(c.qkv_bias);
  EXPECT_THAT(c.eos_tokens, ElementsAre(2));
}

TEST(HfConfig, Llama3) {
  const ModelConfig c = Read(kLlama3);
  EXPECT_EQ(c.rope_scaling, (RopeScaling{RopeScalingKind::kLlama3, 32, 1, 4, 8192}));
  EXPECT_THAT(c.eos_tokens, ElementsAre(128001, 128008, 128009));
}

TEST(HfConfig, Mistral) {
  const ModelConfig c = Read(kMistral);
  EXPECT_EQ(c.sliding_window, 4096);
  EXPECT_TRUE(c.IsLocal(0) && c.IsLocal(31));
  const ModelConfig global = ReadWith(kMistral, {{"sliding_window", nullptr}});
  EXPECT_EQ(global.sliding_window, 0);
  EXPECT_FALSE(global.IsLocal(0));
}

TEST(HfConfig, Gemma) {
  const ModelConfig c = Read(kGemma);
  EXPECT_EQ(c.activation, Activation::kGeluTanh) << "'gelu' means the tanh form in Gemma";
  EXPECT_EQ(c.embed_scale, std::sqrt(2048.0f));
  EXPECT_EQ(c.attn_scale, 0.0625f);
  EXPECT_TRUE(c.tied_embeddings) << "by default";
  EXPECT_EQ(c.ModuleShape(Module::kK), (Shape{256, 2048}));
}

TEST(HfConfig, Gemma3) {
  const ModelConfig c = Read(kGemma3);
  EXPECT_TRUE(c.qk_norm && c.post_norms && c.tied_embeddings);
  EXPECT_EQ(c.rope_theta, 1e6f);
  EXPECT_EQ(c.rope_local_theta, 1e4f);
  EXPECT_EQ(c.sliding_window, 512);
  for (int i = 0; i < 26; ++i) EXPECT_EQ(c.IsLocal(i), i % 6 != 5) << i;
  EXPECT_EQ(ReadWith(kGemma3, {{"query_pre_attn_scalar", 64}}).attn_scale, 0.125f);
  EXPECT_EQ(ReadWith(kGemma3, {{"final_logit_softcapping", 30.0}}).logit_softcap, 30);
}

TEST(HfConfig, Qwen) {
  const ModelConfig c = Read(kQwen2);
  EXPECT_TRUE(c.qkv_bias);
  EXPECT_FALSE(c.o_bias);
  EXPECT_TRUE(c.local_layers.empty());
  EXPECT_EQ(c.sliding_window, 0);
  const ModelConfig local =
      ReadWith(kQwen2, {{"use_sliding_window", true}, {"max_window_layers", 20}});
  EXPECT_EQ(local.sliding_window, 32768);
  EXPECT_FALSE(local.IsLocal(19));
  EXPECT_TRUE(local.IsLocal(20));
  const ModelConfig qwen3 = Read(kQwen3);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.ModuleShape(Module::kQ), (Shape{2048, 1024}));
}

TEST(HfConfig, Pythia) {
  const ModelConfig c = Read(kPythia);
  EXPECT_EQ(c.head_dim, 256);
  EXPECT_EQ(c.rotary_dim, 64);
  EXPECT_EQ(c.kv_heads, 8);
  EXPECT_TRUE(c.parallel_residual && c.qkv_bias && c.o_bias && c.ffn_bias && !c.gated_ffn);
  EXPECT_EQ(c.norm, NormKind::kLayer);
  EXPECT_EQ(c.activation, Activation::kGelu);
  EXPECT_FALSE(ReadWith(kPythia, {{"use_parallel_residual", false}}).parallel_residual);
}

TEST(HfConfig, Gpt2) {
  const ModelConfig c = Read(kGpt2);
  EXPECT_EQ(c.d_ff, 3072);
  EXPECT_EQ(c.positions, PositionKind::kLearned);
  EXPECT_EQ(c.activation, Activation::kGeluTanh);
  EXPECT_EQ(c.attn_scale, 0.125f);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_EQ(ReadWith(kGpt2, {{"scale_attn_weights", false}}).attn_scale, 1);
  EXPECT_EQ(ReadWith(kGpt2, {{"n_inner", 100}}).d_ff, 100);
}

TEST(HfConfig, RopeOfTransformers5MeansTheSameAsTheOldKeys) {
  json llama = json::parse(kLlama3);
  json scaling = llama["rope_scaling"];
  scaling["rope_theta"] = llama["rope_theta"];
  llama.erase("rope_scaling");
  llama.erase("rope_theta");
  llama["rope_parameters"] = scaling;
  EXPECT_EQ(HfConfigFromJson(llama, "f"), Read(kLlama3));

  json gemma = json::parse(kGemma3);
  for (const char* key : {"rope_scaling", "rope_theta", "rope_local_base_freq"}) gemma.erase(key);
  gemma["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1e6}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}}};
  EXPECT_EQ(HfConfigFromJson(gemma, "f"),
            ReadWith(kGemma3, {{"rope_scaling", {{"type", "linear"}, {"factor", 8.0}}}}));

  json pythia = json::parse(kPythia);
  for (const char* key : {"rotary_pct", "rotary_emb_base"}) pythia.erase(key);
  pythia["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 10000.0}, {"partial_rotary_factor", 0.25}};
  EXPECT_EQ(HfConfigFromJson(pythia, "f"), Read(kPythia));
}

TEST(HfConfig, AbsentKeysAndNullTakeTheFamilysDefaults) {
  json mistral = json::parse(kMistral);
  mistral.erase("num_key_value_heads");
  EXPECT_EQ(HfConfigFromJson(mistral, "f").kv_heads, 8);
  EXPECT_EQ(ReadWith(kMistral, {{"num_key_value_heads", nullptr}}).kv_heads, 32);
  json llama = json::parse(kSmolLm2);
  llama.erase("num_key_value_heads");
  llama.erase("bos_token_id");
  const ModelConfig c = HfConfigFromJson(llama, "f");
  EXPECT_EQ(c.kv_heads, 9);
  EXPECT_EQ(c.bos_token, 1);
  EXPECT_EQ(ReadWith(kSmolLm2, {{"bos_token_id", nullptr}}).bos_token, -1);
  EXPECT_TRUE(ReadWith(kSmolLm2, {{"eos_token_id", nullptr}}).eos_tokens.empty());
}

class Published : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Models, Published,
                         testing::Values(kSmolLm2, kLlama3, kMistral, kGemma, kGemma3, kQwen2,
                                         kQwen3, kPythia, kGpt2));

TEST_P(Published, WrittenConfigurationReadsBackEqual) {
  const ModelConfig config = Read(GetParam());
  const json written = json::parse(HfConfigToJson(config).dump());
  EXPECT_EQ(HfConfigFromJson(written, "f"), config);
  EXPECT_EQ(written["architectures"], json::parse(GetParam())["architectures"]);
}

TEST_P(Published, EveryUnknownKeyIsRefusedByName) {
  for (const char* key : {"surprise", "num_local_experts", "qk_layernorm", "alibi", "logit_scale",
                          "residual_multiplier", "kv_lora_rank", "hidden_sizes"}) {
    EXPECT_THAT(
        [&] {
          ReadWith(GetParam(), {{key, 1}});
        },
        ThrowsMessage<Error>(
            AllOf(HasSubstr("config.json"), HasSubstr(key), HasSubstr("unknown key"))));
  }
}

// What a family cannot say is an error that names the field.
struct Inexpressible {
  const char* field;
  std::function<void(ModelConfig&)> change;
};

void PrintTo(const Inexpressible& bad, std::ostream* out) { *out << bad.field; }

class HfConfigLoss : public testing::TestWithParam<Inexpressible> {};

TEST_P(HfConfigLoss, IsRefusedByName) {
  ModelConfig config = TinyLlamaConfig();
  GetParam().change(config);
  EXPECT_THAT(
      [&] { HfConfigToJson(config); },
      ThrowsMessage<Error>(
          AllOf(HasSubstr(std::string(GetParam().field) + ": a value that"), HasSubstr("llama"))));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, HfConfigLoss,
    testing::Values(
        Inexpressible{"o_bias", [](ModelConfig& c) { c.qkv_bias = false, c.o_bias = true; }},
        Inexpressible{"qkv_bias", [](ModelConfig& c) { c.qkv_bias = true; }},
        Inexpressible{"qk_norm", [](ModelConfig& c) { c.qk_norm = true; }},
        Inexpressible{"norm", [](ModelConfig& c) { c.norm = NormKind::kLayer; }},
        Inexpressible{"gated_ffn", [](ModelConfig& c) { c.gated_ffn = false; }},
        Inexpressible{"attn_scale", [](ModelConfig& c) { c.attn_scale = 1; }},
        Inexpressible{"embed_scale", [](ModelConfig& c) { c.embed_scale = 2; }},
        Inexpressible{"logit_softcap", [](ModelConfig& c) { c.logit_softcap = 30; }},
        Inexpressible{"attn_softcap", [](ModelConfig& c) { c.attn_softcap = 50; }},
        Inexpressible{"head_bias", [](ModelConfig& c) { c.head_bias = true; }},
        Inexpressible{"parallel_residual", [](ModelConfig& c) { c.parallel_residual = true; }},
        Inexpressible{"sliding_window", [](ModelConfig& c) {
                        c.sliding_window = 4;
                        c.local_layers = {1, 1, 1, 1};
                      }}));

}  // namespace
}  // namespace rondo
