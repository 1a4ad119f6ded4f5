// Layouts of Hugging Face checkpoints: fused, transposed and shifted tensors, prefixes, buffers.
#include "hub/hf_tensors.h"

#include <gmock/gmock.h>

#include <functional>

#include "base/temp_dir.h"
#include "hub/native_testing.h"
#include "rondo/error.h"
#include "rondo/export.h"
#include "rondo/model.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig TinyNeoxConfig() {
  ModelConfig config = TinyGpt2Config();
  config.family = "gpt_neox";
  config.positions = PositionKind::kRope;
  config.rotary_dim = 2;
  config.activation = Activation::kGelu;
  config.parallel_residual = true;
  config.tied_embeddings = false;
  return config;
}

ModelConfig TinyGemmaConfig() {
  ModelConfig config = TinyLlamaConfig();
  config.family = "gemma";
  config.activation = Activation::kGeluTanh;
  config.embed_scale = 2.828427f;
  config.tied_embeddings = true;
  return config;
}

// The checkpoint of RuleModel(config), as f32.
TensorMap Checkpoint(const ModelConfig& config) {
  const Model model = RuleModel(config, IdentityPlan(config));
  TensorMap tensors;
  for (const TensorSource& source : HfTensorSources(config, model.weights, DType::kF32)) {
    tensors[source.name] = source.make();
    EXPECT_EQ(tensors[source.name].shape(), source.shape) << source.name;
  }
  return tensors;
}

Weights ReadBack(ModelConfig config, const TensorMap& tensors) {
  return ReadHfWeights(&config, tensors, "dir");
}

void ExpectRuleWeights(const ModelConfig& config, const Weights& weights) {
  for (const TensorSpec& spec : ExpectedTensors(config, IdentityPlan(config))) {
    EXPECT_THAT(ToF32(weights.Get(spec.name)), ElementsAreArray(RuleValues(spec.name, spec.shape)))
        << spec.name;
  }
}

class HfLayout : public testing::TestWithParam<ModelConfig> {};

INSTANTIATE_TEST_SUITE_P(Families, HfLayout,
                         testing::Values(TinyLlamaConfig(), TinyGpt2Config(), TinyNeoxConfig(),
                                         TinyGemmaConfig()),
                         [](const auto& test) { return test.param.family; });

TEST_P(HfLayout, ReadsBackWhatItWrites) {
  ExpectRuleWeights(GetParam(), ReadBack(GetParam(), Checkpoint(GetParam())));
}

TEST_P(HfLayout, PrefixesAreOptional) {
  TensorMap bare;
  for (auto& [name, tensor] : Checkpoint(GetParam())) {
    bare[name.substr(name.find_first_of('.') + 1)] = tensor;
  }
  if (!GetParam().tied_embeddings) {  // the head never had a prefix to lose
    bare["lm_head.weight"] = bare["weight"];
    bare.erase("weight");
  }
  ExpectRuleWeights(GetParam(), ReadBack(GetParam(), bare));
}

// Row r of the fused matrix is head r / 6, part (q, k, v) r / 2 % 3, element r % 2 for heads of 2.
TEST(HfTensors, NeoxRowsAreInterleavedByHead) {
  const ModelConfig config = TinyNeoxConfig();
  TensorMap tensors = Checkpoint(config);
  const std::string fused = "gpt_neox.layers.0.attention.query_key_value.";
  std::vector<float> matrix, bias;
  for (int row = 0; row < 24; ++row) {
    matrix.insert(matrix.end(), 8, static_cast<float>(row));
    bias.push_back(100.0f + static_cast<float>(row));
  }
  tensors[fused + "weight"] = Tensor::FromF32({24, 8}, matrix);
  tensors[fused + "bias"] = Tensor::FromF32({24}, bias);
  const Weights weights = ReadBack(config, tensors);
  const auto rows = [&](const char* name) {
    const std::vector<float> values = ToF32(weights.Get(name));
    std::vector<float> first;
    for (size_t i = 0; i < values.size(); i += 8) first.push_back(values[i]);
    return first;
  };
  EXPECT_THAT(rows("blocks.0.q.weight"), ElementsAre(0, 1, 6, 7, 12, 13, 18, 19));
  EXPECT_THAT(rows("blocks.0.k.weight"), ElementsAre(2, 3, 8, 9, 14, 15, 20, 21));
  EXPECT_THAT(rows("blocks.0.v.weight"), ElementsAre(4, 5, 10, 11, 16, 17, 22, 23));
  EXPECT_THAT(ToF32(weights.Get("blocks.0.k.bias")),
              ElementsAre(102, 103, 108, 109, 114, 115, 120, 121));
}

// Conv1D stores [in, out] with q, k and v side by side.
TEST(HfTensors, Gpt2LinearsAreTransposed) {
  const ModelConfig config = TinyGpt2Config();
  TensorMap tensors = Checkpoint(config);
  std::vector<float> fused;
  for (int in = 0; in < 8; ++in) {
    for (int out = 0; out < 24; ++out) fused.push_back(static_cast<float>(100 * out + in));
  }
  for (const DType type : {DType::kF32, DType::kF16}) {
    const Tensor f32 = Tensor::FromF32({8, 24}, fused);
    tensors["transformer.h.0.attn.c_attn.weight"] = Cast(f32, type);
    const Weights weights = ReadBack(config, tensors);
    const std::vector<float> k = ToF32(weights.Get("blocks.0.k.weight"));
    // f16 has 11 significant bits: 800..807 are exact.
    EXPECT_THAT(std::vector(k.begin(), k.begin() + 8),
                ElementsAre(800, 801, 802, 803, 804, 805, 806, 807));
  }
}

TEST(HfTensors, GemmaGainsAreOneMoreThanStored) {
  const ModelConfig config = TinyGemmaConfig();
  TensorMap tensors = Checkpoint(config);
  const Tensor stored = Cast(Tensor::FromF32({8}, std::vector<float>(8, -0.25f)), DType::kBF16);
  for (const std::string name : {"model.norm.weight", "model.layers.3.input_layernorm.weight"}) {
    tensors[name] = stored;
  }
  const Weights weights = ReadBack(config, tensors);
  EXPECT_THAT(ToF32(weights.Get("final_norm.weight")), testing::Each(0.75f));
  EXPECT_THAT(ToF32(weights.Get("blocks.3.attn_norm.weight")), testing::Each(0.75f));
}

TEST(HfTensors, MatricesStayViewsAndVectorsBecomeF32) {
  const ModelConfig config = TinyLlamaConfig();
  TensorMap tensors = Checkpoint(config);
  for (auto& [name, tensor] : tensors) tensor = Cast(tensor, DType::kBF16);
  const Weights weights = ReadBack(config, tensors);
  EXPECT_EQ(weights.Get("blocks.1.up.weight").bytes().data(),
            tensors.at("model.layers.1.mlp.up_proj.weight").bytes().data());
  EXPECT_EQ(weights.Get("blocks.1.ffn_norm.weight").dtype(), DType::kF32);
}

TEST(HfTensors, ACopyOfTheEmbeddingAsHeadIsKnownByItsValues) {
  ModelConfig config = TinyGemmaConfig();
  TensorMap tensors = Checkpoint(config);
  const Tensor embedding = tensors.at("model.embed_tokens.weight");
  for (const DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16}) {  // the values are exact in all
    tensors["lm_head.weight"] = Cast(embedding, dtype);
    EXPECT_FALSE(ReadHfWeights(&config, tensors, "dir").Has("head.weight"));
    EXPECT_TRUE(config.tied_embeddings);
  }
}

TEST(HfTensors, AHeadThatDiffersFromTheEmbeddingIsKept) {
  ModelConfig config = TinyGemmaConfig();
  TensorMap tensors = Checkpoint(config);
  tensors["lm_head.weight"] = Tensor::FromF32({16, 8}, std::vector<float>(128, 9));
  testing::internal::CaptureStderr();
  const Weights weights = ReadHfWeights(&config, tensors, "dir");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("lm_head.weight differs"));
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_THAT(ToF32(weights.Get("head.weight")), testing::Each(9));
}

TEST(HfTensors, ATiedHeadStandsForAMissingEmbedding) {
  ModelConfig config = TinyGemmaConfig();
  TensorMap tensors = Checkpoint(config);
  const Tensor embedding = tensors.at("model.embed_tokens.weight");
  tensors["lm_head.weight"] = embedding;
  tensors.erase("model.embed_tokens.weight");
  const Weights weights = ReadHfWeights(&config, tensors, "dir");
  EXPECT_EQ(ToF32(weights.Get("embed.weight")), ToF32(embedding));
  EXPECT_TRUE(config.tied_embeddings);
}

TEST(HfTensors, BuffersAreToldFromWeightsByName) {
  const ModelConfig llama = TinyLlamaConfig(), gpt2 = TinyGpt2Config(), neox = TinyNeoxConfig();
  EXPECT_FALSE(IsHfWeight(llama, "model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(IsHfWeight(gpt2, "h.0.attn.bias"));
  EXPECT_FALSE(IsHfWeight(gpt2, "transformer.h.0.attn.masked_bias"));
  EXPECT_TRUE(IsHfWeight(gpt2, "h.0.attn.c_attn.bias"));
  EXPECT_FALSE(IsHfWeight(neox, "gpt_neox.layers.0.attention.bias"));
  EXPECT_TRUE(IsHfWeight(neox, "gpt_neox.layers.0.attention.dense.bias"));
  EXPECT_TRUE(IsHfWeight(llama, "h.0.attn.bias")) << "no buffer of this family";
}

struct BadCheckpoint {
  const char* name;
  std::function<void(TensorMap&)> spoil;
  const char* words;
};
void PrintTo(const BadCheckpoint& bad, std::ostream* out) { *out << bad.name; }

class MalformedCheckpoint : public testing::TestWithParam<BadCheckpoint> {};

TEST_P(MalformedCheckpoint, IsAnErrorNamingTheTensor) {
  TensorMap tensors = Checkpoint(TinyLlamaConfig());
  GetParam().spoil(tensors);
  EXPECT_THAT([&] { ReadBack(TinyLlamaConfig(), tensors); },
              ThrowsMessage<Error>(AllOf(HasSubstr("dir: "), HasSubstr(GetParam().words))));
}

Tensor Zeros(const Shape& shape) {
  return Tensor::FromF32(shape, std::vector<float>(static_cast<size_t>(ElementCount(shape))));
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, MalformedCheckpoint,
    testing::Values(
        BadCheckpoint{"missing",
                      [](TensorMap& map) { map.erase("model.layers.2.mlp.up_proj.weight"); },
                      "layers.2.mlp.up_proj.weight: missing tensor (expected shape [12, 8])"},
        BadCheckpoint{"missing head", [](TensorMap& map) { map.erase("lm_head.weight"); },
                      "or tie_word_embeddings true"},
        BadCheckpoint{"transposed",
                      [](TensorMap& map) {
                        map["model.layers.2.mlp.up_proj.weight"] = Zeros({8, 12});
                      },
                      "shape [8, 12] (expected [12, 8])"},
        BadCheckpoint{"vocabulary",
                      [](TensorMap& map) {
                        map["model.embed_tokens.weight"] = Zeros({15, 8});
                      },
                      "embed_tokens.weight: shape [15, 8]"},
        BadCheckpoint{"flat",
                      [](TensorMap& map) {
                        map["model.norm.weight"] = Zeros({2, 4});
                      },
                      "norm.weight: shape [2, 4]"},
        BadCheckpoint{"one layer more",
                      [](TensorMap& map) {
                        map["model.layers.4.mlp.up_proj.weight"] = Zeros({12, 8});
                      },
                      "layers.4.mlp.up_proj.weight: tensor that this configuration does not use"},
        BadCheckpoint{
            "a bias the configuration does not know",
            [](TensorMap& map) { map["model.layers.0.self_attn.q_proj.bias"] = Zeros({8}); },
            "layers.0.self_attn.q_proj.bias"},
        BadCheckpoint{"another family's tensor",
                      [](TensorMap& map) {
                        map["wte.weight"] = Zeros({16, 8});
                      },
                      "wte.weight"},
        BadCheckpoint{"with and without prefix",
                      [](TensorMap& map) { map["norm.weight"] = Zeros({8}); }, "given twice"}));

TEST(ExportHf, AbsorbedNormsBecomeUnitGainsAndOwnBiasesGoToTheirLayers) {
  TempDir dir;
  const ModelConfig config = TinyGpt2Config();
  SharingPlan plan = IdentityPlan(config);
  plan[Module::kFfnNorm].blocks.assign(4, kAbsorbed);
  plan[Module::kQ].own_bias = true;
  ExportHf(RuleModel(config, plan), dir.File("out"), DType::kF32);
  const Model exported = LoadModel(dir.File("out"));
  EXPECT_EQ(exported.config, config);
  EXPECT_EQ(exported.plan, IdentityPlan(config));
  EXPECT_THAT(ToF32(exported.weights.Get("blocks.1.ffn_norm.weight")), testing::Each(1));
  EXPECT_THAT(ToF32(exported.weights.Get("blocks.1.ffn_norm.bias")), testing::Each(0));
  EXPECT_THAT(ToF32(exported.weights.Get("blocks.3.q.bias")),
              ElementsAreArray(RuleValues("residual.3.q.bias", {8})));
}

TEST(ExportHf, UnitGainsOfGemmaAreStoredAsZero) {
  TempDir dir;
  const ModelConfig config = TinyGemmaConfig();
  SharingPlan plan = IdentityPlan(config);
  plan[Module::kAttnNorm].blocks.assign(4, kAbsorbed);
  ExportHf(RuleModel(config, plan), dir.File("out"), DType::kBF16);
  const TensorMap tensors = ReadSafetensorsModel(dir.File("out"));
  EXPECT_THAT(ToF32(tensors.at("model.layers.2.input_layernorm.weight")), testing::Each(0));
}

TEST(ExportHf, RefusesWhatIsNotUnrolled) {
  TempDir dir;
  SharingPlan plan = IdentityPlan(TinyLlamaConfig());
  plan[Module::kUp].blocks = {0, 1, 0, 1};
  EXPECT_THAT([&] { ExportHf(RuleModel(TinyLlamaConfig(), plan), dir.File("x"), DType::kF32); },
              ThrowsMessage<Error>(HasSubstr("modules.up: depth 2 uses block 0")));
  plan = IdentityPlan(TinyLlamaConfig());
  plan[Module::kV].residual = ResidualKind::kLora;
  plan[Module::kV].ranks.assign(4, 1);
  EXPECT_THAT([&] { ExportHf(RuleModel(TinyLlamaConfig(), plan), dir.File("x"), DType::kF32); },
              ThrowsMessage<Error>(HasSubstr("modules.v: depth 0 has a residual")));
  plan = IdentityPlan(TinyLlamaConfig());
  plan.prefix = 4;
  EXPECT_THAT([&] { ExportHf(RuleModel(TinyLlamaConfig(), plan), dir.File("x"), DType::kF32); },
              ThrowsMessage<Error>(HasSubstr("prefix: 4 prefix vectors at every depth")));
  EXPECT_TRUE(std::filesystem::is_empty(dir.File("")));
}

}  // namespace
}  // namespace rondo
