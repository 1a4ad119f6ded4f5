// Broken and hostile model directories: configurations, plans and weights that do not fit together.
// Each ends in an Error that names file and field.
#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/temp_dir.h"
#include "formats/safetensors_testing.h"
#include "hub/native_config.h"
#include "hub/native_testing.h"
#include "rondo/error.h"
#include "rondo/model.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// ---- Hugging Face configurations ----------------------------------------------------------------

struct BadConfig {
  const char* name;
  const char* base;     // llama, mistral, gemma3_text, qwen2, gpt_neox or gpt2
  const char* changes;  // merged into the base; a null removes the key (RFC 7396)
  const char* words;
};
void PrintTo(const BadConfig& bad, std::ostream* out) { *out << bad.name; }

json BaseConfig(const std::string& family) {
  if (family == "gpt2") {
    return {{"model_type", "gpt2"}, {"n_embd", 8},       {"n_layer", 4},
            {"n_head", 4},          {"n_positions", 32}, {"vocab_size", 16}};
  }
  json config = {{"model_type", family},     {"hidden_size", 8},
                 {"intermediate_size", 12},  {"num_hidden_layers", 4},
                 {"num_attention_heads", 4}, {"max_position_embeddings", 32},
                 {"vocab_size", 16}};
  if (family != "gpt_neox") {
    config["num_key_value_heads"] = 2;
  } else {
    config["num_attention_heads"] = 1;  // a quarter of each head rotates
  }
  return config;
}

class MalformedConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(MalformedConfig, IsRefusedByName) {
  TempDir dir;
  json config = BaseConfig(GetParam().base);
  ASSERT_NO_THROW(ParseConfigFile(config.dump(), "base"));
  config.merge_patch(json::parse(GetParam().changes));
  WriteBytes(dir.File("config.json"), config.dump());
  EXPECT_THAT([&] { LoadModel(dir.File(""), LoadParts::kConfig); },
              ThrowsMessage<Error>(AllOf(HasSubstr("config.json: "), HasSubstr(GetParam().words))));
}

INSTANTIATE_TEST_SUITE_P(
    Configs, MalformedConfig,
    testing::Values(
        BadConfig{"no family", "llama", R"({"model_type": null})", "model_type: missing"},
        BadConfig{"unknown family", "llama", R"({"model_type": "mamba"})",
                  "model_type: unknown model family 'mamba'"},
        BadConfig{"images too", "llama", R"({"model_type": "gemma3"})", "gemma3_text"},
        BadConfig{"family no string", "llama", R"({"model_type": 7})", "model_type: 7"},
        BadConfig{"no width", "llama", R"({"hidden_size": null})", "hidden_size: missing"},
        BadConfig{"width as text", "llama", R"({"hidden_size": "8"})", "hidden_size: \"8\""},
        BadConfig{"fractional layers", "llama", R"({"num_hidden_layers": 4.5})",
                  "num_hidden_layers: 4.5"},
        BadConfig{"no layers", "llama", R"({"num_hidden_layers": 0})", "num_hidden_layers: 0"},
        BadConfig{"a billion layers", "llama", R"({"num_hidden_layers": 1000000000})",
                  "num_hidden_layers: 1000000000"},
        BadConfig{"negative layers", "llama", R"({"num_hidden_layers": -4})",
                  "num_hidden_layers: -4"},
        BadConfig{"width beyond 64 bits", "llama", R"({"hidden_size": 18446744073709551615})",
                  "hidden_size: 18446744073709551615"},
        BadConfig{"no heads", "llama", R"({"num_attention_heads": 0})", "num_attention_heads: 0"},
        BadConfig{"heads do not divide", "llama", R"({"num_attention_heads": 3})", "a divisor"},
        BadConfig{"KV heads do not divide", "llama", R"({"num_key_value_heads": 3})",
                  "num_key_value_heads: value 3"},
        BadConfig{"negative head size", "llama", R"({"head_dim": -2})", "head_dim: value -2"},
        BadConfig{"odd head size", "llama", R"({"head_dim": 3})", "rotary_dim"},
        BadConfig{"epsilon as text", "llama", R"({"rms_norm_eps": "small"})", "rms_norm_eps"},
        BadConfig{"epsilon too large", "llama", R"({"rms_norm_eps": 1e300})",
                  "rms_norm_eps: 1e+300"},
        BadConfig{"theta zero", "llama", R"({"rope_theta": 0})", "rope_theta: value 0"},
        BadConfig{"unknown activation", "llama", R"({"hidden_act": "mish"})",
                  "hidden_act: 'mish' (expected one of silu"},
        BadConfig{"interleaved rope", "llama", R"({"rope_interleaved": true})", "rope_interleaved"},
        BadConfig{"quantised", "llama", R"({"quantization_config": {"bits": 4}})",
                  "quantization_config"},
        BadConfig{"typo", "llama", R"({"num_hidden_layer": 3})",
                  "did you mean 'num_hidden_layers'?"},
        BadConfig{"experts", "mistral", R"({"num_local_experts": 8})", "num_local_experts"},
        BadConfig{"window in a family without", "llama", R"({"sliding_window": 8})",
                  "sliding_window: unknown key"},
        BadConfig{"eos as text", "llama", R"({"eos_token_id": "</s>"})", "eos_token_id"},
        BadConfig{"eos list of text", "llama", R"({"eos_token_id": [1, "2"]})", "eos_token_id"},
        BadConfig{"switch as number", "llama", R"({"attention_bias": 1})", "attention_bias: 1"},
        BadConfig{"unknown scaling", "llama", R"({"rope_scaling": {"rope_type": "mrope"}})",
                  "rope_scaling.rope_type: 'mrope' (expected default, linear, dynamic, llama3"},
        BadConfig{"longrope without factors", "llama",
                  R"({"rope_scaling": {"rope_type": "longrope", "short_factor": [1]}})",
                  "rope_scaling.long_factor: missing"},
        BadConfig{"longrope of another width", "llama",
                  R"({"rope_scaling": {"rope_type": "longrope", "short_factor": [1, 1, 1],
                                       "long_factor": [1, 1, 1]}})",
                  "rope_scaling.short_factor: 3 numbers"},
        BadConfig{"longrope factor zero", "llama",
                  R"({"rope_scaling": {"rope_type": "longrope", "short_factor": [0],
                                       "long_factor": [1]}})",
                  "rope_scaling.short_factor"},
        BadConfig{"yarn of negative attention", "llama",
                  R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "attention_factor": -1}})",
                  "rope_scaling.attention_factor"},
        BadConfig{"loops of another model", "llama", R"({"total_ut_steps": 4})",
                  "total_ut_steps: unknown key"},
        BadConfig{"window switched on", "llama",
                  R"({"use_sliding_window": true, "sliding_window": 8})", "use_sliding_window"},
        BadConfig{"local layers in a family without", "llama",
                  R"({"layer_types": ["sliding_attention", "full_attention", "full_attention",
                                      "full_attention"]})",
                  "layer_types: 'sliding_attention'"},
        BadConfig{"scaling without factor", "llama", R"({"rope_scaling": {"type": "linear"}})",
                  "rope_scaling.factor: missing"},
        BadConfig{"scaling no object", "llama", R"({"rope_scaling": 2})", "rope_scaling: 2"},
        BadConfig{"factor zero", "llama", R"({"rope_scaling": {"type": "linear", "factor": 0}})",
                  "rope_scaling.factor"},
        BadConfig{"unknown key of scaling", "llama",
                  R"({"rope_scaling": {"type": "linear", "factor": 2, "alpha": 1000}})",
                  "rope_scaling.alpha"},
        BadConfig{"llama3 frequencies reversed", "llama",
                  R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
                                       "high_freq_factor": 1}})",
                  "high_freq_factor"},
        BadConfig{"partial rotation", "llama", R"({"partial_rotary_factor": 0.5})",
                  "partial_rotary_factor"},
        BadConfig{"negative window", "mistral", R"({"sliding_window": -1})", "sliding_window: -1"},
        BadConfig{"rotary part above one", "gpt_neox", R"({"rotary_pct": 1.5})",
                  "partial_rotary_factor"},
        BadConfig{"contradicting theta", "gpt_neox",
                  R"({"rotary_emb_base": 10000, "rope_theta": 20000})", "rope_theta: differs"},
        BadConfig{"layer types short", "qwen2", R"({"layer_types": ["full_attention"]})",
                  "layer_types: 1 entries"},
        BadConfig{"layer type unknown", "qwen2",
                  R"({"layer_types": ["full_attention", "linear_attention", "full_attention",
                                      "full_attention"]})",
                  "layer_types: 'linear_attention'"},
        BadConfig{"local layers without window", "qwen2",
                  R"({"layer_types": ["full_attention", "sliding_attention", "full_attention",
                                      "full_attention"]})",
                  "sliding_window: 0"},
        BadConfig{"multimodal rope", "qwen2", R"({"use_mrope": true})", "use_mrope"},
        BadConfig{"pattern zero", "gemma3_text", R"({"sliding_window_pattern": 0})",
                  "sliding_window_pattern: 0"},
        BadConfig{"capped attention", "gemma3_text", R"({"attn_logit_softcapping": 50.0})",
                  "attn_logit_softcapping: 50"},
        BadConfig{"bidirectional", "gemma3_text", R"({"use_bidirectional_attention": true})",
                  "use_bidirectional_attention"},
        BadConfig{"query scalar zero", "gemma3_text", R"({"query_pre_attn_scalar": 0})",
                  "query_pre_attn_scalar"},
        BadConfig{"query scalar negative", "gemma3_text", R"({"query_pre_attn_scalar": -4})",
                  "query_pre_attn_scalar"},
        BadConfig{"scaled by layer", "gpt2", R"({"scale_attn_by_inverse_layer_idx": true})",
                  "scale_attn_by_inverse_layer_idx: true"},
        BadConfig{"cross attention", "gpt2", R"({"add_cross_attention": true})",
                  "add_cross_attention"}));

struct BadText {
  const char* name;
  std::string text;
  const char* words;
};
void PrintTo(const BadText& bad, std::ostream* out) { *out << bad.name; }

class MalformedConfigText : public testing::TestWithParam<BadText> {};

TEST_P(MalformedConfigText, IsAnErrorNamingTheFile) {
  TempDir dir;
  WriteBytes(dir.File("config.json"), GetParam().text);
  EXPECT_THAT([&] { LoadModel(dir.File(""), LoadParts::kConfig); },
              ThrowsMessage<Error>(AllOf(HasSubstr("config.json: "), HasSubstr(GetParam().words))));
}

std::string Nested(const std::string& open, int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    Texts, MalformedConfigText,
    testing::Values(
        BadText{"empty", "", "valid JSON"},
        BadText{"truncated", R"({"model_type": "lla)", "valid JSON"},
        BadText{"array", "[]", "expected an object"}, BadText{"text", "\"llama\"", "an object"},
        BadText{"not UTF-8", "{\"model_type\": \"\xc3\x28\"}", "valid JSON"},
        BadText{"zero bytes", std::string(64, '\0'), "valid JSON"},
        BadText{"deep arrays", R"({"model_type": )" + Nested("[", 200'000), "deeper than 64"},
        BadText{"deep plan",
                R"({"model_type": "rondo", "rondo": )" + Nested("{\"modules\":", 50'000),
                "deeper than 64"},
        BadText{"key twice", R"({"model_type": "llama", "model_type": "gpt2"})",
                "model_type: key occurs twice"},
        BadText{"native without a plan", R"({"model_type": "rondo"})", "rondo: missing"},
        BadText{"17 MiB", std::string(17 << 20, ' '), "17825792 bytes"}));

// ---- native directories
// ---------------------------------------------------------------------------

struct BadDirectory {
  const char* name;
  std::function<void(json& config)> spoil;
  const char* words;
};
void PrintTo(const BadDirectory& bad, std::ostream* out) { *out << bad.name; }

class MalformedNative : public testing::TestWithParam<BadDirectory> {};

TEST_P(MalformedNative, IsRefusedByName) {
  TempDir dir;
  fs::copy(RONDO_TEST_DATA "/native-v1", dir.File("m"));
  json config = json::parse(ReadTextFile(dir.File("m/config.json")));
  GetParam().spoil(config);
  WriteBytes(dir.File("m/config.json"), config.dump());
  EXPECT_THAT([&] { LoadModel(dir.File("m")); },
              ThrowsMessage<Error>(AllOf(HasSubstr(dir.File("m")), HasSubstr(GetParam().words))));
}

json& Blocks(json& config, const char* module) {
  return config["rondo"]["modules"][module]["blocks"];
}

INSTANTIATE_TEST_SUITE_P(
    Directories, MalformedNative,
    testing::Values(
        BadDirectory{"later format", [](json& c) { c["rondo"]["format"] = 3; }, "version 3"},
        BadDirectory{"plan no object", [](json& c) { c["rondo"] = 1; }, "expected an object"},
        BadDirectory{"plan null", [](json& c) { c["rondo"] = nullptr; }, "expected an object"},
        BadDirectory{"family missing", [](json& c) { c.erase("base_model_type"); },
                     "base_model_type: missing"},
        BadDirectory{"family unknown", [](json& c) { c["base_model_type"] = "rondo"; },
                     "unknown model family 'rondo'"},
        BadDirectory{"model type of a family", [](json& c) { c["model_type"] = "llama"; },
                     "model_type: 'llama'"},
        BadDirectory{"other number of layers", [](json& c) { c["num_hidden_layers"] = 5; },
                     "depths: 4 (expected the model's 5)"},
        BadDirectory{"a block that only a later depth defines",
                     [](json& c) {
                       Blocks(c, "q") = {1, 0, 1, 0};
                     },
                     "modules.q.blocks: block 1"},
        BadDirectory{"short tie map",
                     [](json& c) {
                       Blocks(c, "q") = {0, 1, 0};
                     },
                     "modules.q.blocks: 3 entries"},
        BadDirectory{"huge block",
                     [](json& c) {
                       Blocks(c, "q") = {0, 1, 16777216, 1};
                     },
                     "block 16777216"},
        BadDirectory{"module left out", [](json& c) { c["rondo"]["modules"].erase("down"); },
                     "modules.down: missing"},
        BadDirectory{"module of another family",
                     [](json& c) {
                       Blocks(c, "q_norm") = {0, 0, 0, 0};
                     },
                     "no such module"},
        BadDirectory{"rank above the matrix",
                     [](json& c) { c["rondo"]["modules"]["q"]["rank"] = 4000; }, "rank 4000"},
        BadDirectory{"rank that the tensors do not have",
                     [](json& c) { c["rondo"]["modules"]["q"]["rank"] = 3; },
                     "residual.0.q.a: shape [2, 8] (expected [3, 8])"},
        BadDirectory{"other tie map than the tensors",
                     [](json& c) {
                       Blocks(c, "q") = {0, 1, 2, 3};
                     },
                     "blocks.2.q.weight: missing"},
        BadDirectory{"fewer blocks than tensors",
                     [](json& c) {
                       Blocks(c, "v") = {0, 0, 0, 0};
                     },
                     "blocks.1.v.weight: tensor that this model does not use"},
        BadDirectory{"norms that the tensors do not have",
                     [](json& c) {
                       Blocks(c, "ffn_norm") = {0, 1, 2, 3};
                     },
                     "blocks.0.ffn_norm.weight: missing"},
        BadDirectory{"other vocabulary", [](json& c) { c["vocab_size"] = 17; },
                     "embed.weight: shape [16, 8]"},
        BadDirectory{"unknown key of the plan", [](json& c) { c["rondo"]["exits"] = 1; },
                     "exits: unknown key"},
        BadDirectory{"unknown key of the model", [](json& c) { c["mixture"] = 1; },
                     "mixture: unknown key"}));

TEST(MalformedNativeBytes, EveryTruncationOfTheWeightsIsAnError) {
  TempDir dir;
  fs::copy(RONDO_TEST_DATA "/native-v1", dir.File("m"));
  const std::string bytes = ReadTextFile(dir.File("m/model.safetensors"));
  for (size_t length = 0; length < bytes.size(); length += 97) {
    WriteBytes(dir.File("m/model.safetensors"), bytes.substr(0, length));
    EXPECT_THAT([&] { LoadModel(dir.File("m")); },
                ThrowsMessage<Error>(HasSubstr("model.safetensors")))
        << length;
  }
}

TEST(MalformedNativeBytes, FlippedHeaderBytesNeverDoMoreThanThrow) {
  TempDir dir;
  fs::copy(RONDO_TEST_DATA "/native-v1", dir.File("m"));
  const std::string bytes = ReadTextFile(dir.File("m/model.safetensors"));
  const size_t header =
      8 + static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]);
  int refused = 0;
  for (size_t at = 0; at < header; at += 5) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 7));
    WriteBytes(dir.File("m/model.safetensors"), flipped);
    try {
      LoadModel(dir.File("m"));
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(header / 5) * 3 / 4) << "spaces and digits may survive";
}

}  // namespace
}  // namespace rondo
