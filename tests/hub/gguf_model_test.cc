#include "hub/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/temp_dir.h"
#include "formats/gguf.h"
#include "hub/gguf_test_models.h"
#include "rondo/error.h"
#include "rondo/export.h"

namespace rondo {
namespace {

using testing::HasSubstr;

void ExpectSameWeights(const Weights& got, const Weights& expected) {
  EXPECT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(got.Has(name)) << name;
    EXPECT_EQ(got.Get(name).shape(), tensor.shape()) << name;
    EXPECT_EQ(ToF32(got.Get(name)), ToF32(tensor)) << name;
  }
}

class GgufFamily : public testing::TestWithParam<const char*> {};

TEST_P(GgufFamily, SurvivesExportAndLoadExactly) {
  TempDir dir;
  const Model model = RandomGgufModel(SmallGgufConfig(GetParam()));
  WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32);
  const Model loaded = LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll);
  EXPECT_EQ(loaded.config, model.config);
  EXPECT_EQ(loaded.plan, model.plan);
  EXPECT_EQ(loaded.path, dir.File("m.gguf"));
  ExpectSameWeights(loaded.weights, model.weights);
}

TEST_P(GgufFamily, ConfigAloneIsTheSame) {
  TempDir dir;
  const Model model = RandomGgufModel(SmallGgufConfig(GetParam()));
  WriteUniformGguf(model, dir.File("m.gguf"), DType::kF16);
  const Model loaded = LoadGgufModel(dir.File("m.gguf"), LoadParts::kConfig);
  EXPECT_EQ(loaded.config, model.config);
  EXPECT_EQ(loaded.weights.size(), 0u);
}

TEST_P(GgufFamily, MatricesAreStoredAsAskedAndVectorsAsF32) {
  TempDir dir;
  const Model model = RandomGgufModel(SmallGgufConfig(GetParam()));
  WriteUniformGguf(model, dir.File("m.gguf"), DType::kBF16);
  const Model loaded = LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll);
  for (const auto& [name, tensor] : model.weights) {
    const bool matrix = tensor.shape().size() > 1 && name != "positions.weight";
    const DType dtype = matrix ? DType::kBF16 : DType::kF32;
    EXPECT_EQ(loaded.weights.Get(name).dtype(), dtype) << name;
    EXPECT_EQ(ToF32(loaded.weights.Get(name)), ToF32(Cast(tensor, dtype))) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(AllFamilies, GgufFamily,
                         testing::Values("llama", "mistral", "gemma", "gemma3_text", "qwen2",
                                         "qwen3", "gpt_neox", "gpt2"),
                         [](const auto& family) { return std::string(family.param); });

TEST(GgufModelTest, LlamaRowsAreStoredInMetasOrder) {
  TempDir dir;
  const Model model = RandomGgufModel(SmallGgufConfig("llama"));
  WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32);
  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  const Tensor& stored = file.tensors().find("blk.2.attn_k.weight")->second;
  const Tensor& own = model.weights.Get("blocks.2.k.weight");
  // Row 2i of a head in Meta's order is row i of Hugging Face's, row 2i+1 is i + head_dim/2.
  for (const auto& [meta, half_split] :
       {std::pair<int64_t, int64_t>{0, 0}, {1, 4}, {2, 1}, {7, 7}, {8, 8}, {9, 12}}) {
    const auto got = stored.RowBytes(meta), expected = own.RowBytes(half_split);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin(), expected.end())) << meta;
  }
}

TEST(GgufModelTest, QuantisedWeightsStayQuantised) {
  TempDir dir;
  ModelConfig config = SmallGgufConfig("llama");
  const Model model = RandomGgufModel(config);
  WriteUniformGguf(model, dir.File("plain.gguf"), DType::kF32);
  // The same file with one matrix replaced by blocks whose bytes tell rows apart.
  const GgufFile plain = GgufFile::Open(dir.File("plain.gguf"));
  std::vector<std::byte> blocks(16 * 18);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(i / 18);
  const Tensor quantised = Tensor::FromBytes(DType::kQ4_0, {16, 32}, blocks);
  GgufWriter writer;
  for (const auto& [key, value] : plain.metadata()) {
    if (const auto* text = std::get_if<std::string>(&value)) writer.SetString(key, *text);
    if (const auto* number = std::get_if<uint64_t>(&value)) {
      writer.SetU32(key, static_cast<uint32_t>(*number));
    }
    if (const auto* number = std::get_if<double>(&value)) {
      writer.SetF32(key, static_cast<float>(*number));
    }
  }
  for (const auto& [name, tensor] : plain.tensors()) {
    writer.AddTensor(name, name == "blk.0.attn_k.weight" ? quantised : tensor);
  }
  writer.Write(dir.File("mixed.gguf"));

  const Model loaded = LoadGgufModel(dir.File("mixed.gguf"), LoadParts::kAll);
  const Tensor& k = loaded.weights.Get("blocks.0.k.weight");
  ASSERT_EQ(k.dtype(), DType::kQ4_0);
  EXPECT_EQ(k.RowBytes(1)[0], std::byte{2});  // Meta's row 2
  EXPECT_EQ(k.RowBytes(4)[0], std::byte{1});
}

TEST(GgufModelTest, Llama3ScalingTravelsAsFrequencyFactors) {
  TempDir dir;
  ModelConfig config = SmallGgufConfig("llama");
  config.head_dim = config.rotary_dim = 64;
  config.attn_scale = 0.125f;
  config.rope_theta = 500000;
  config.rope_scaling = {.kind = RopeScalingKind::kLlama3,
                         .factor = 32,
                         .low_freq_factor = 1,
                         .high_freq_factor = 4,
                         .original_max_positions = 8192};
  WriteUniformGguf(RandomGgufModel(config), dir.File("m.gguf"), DType::kF32);
  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  EXPECT_EQ(file.tensors().find("rope_freqs.weight")->second.shape(), Shape{32});
  EXPECT_EQ(LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll).config, config);
}

TEST(GgufModelTest, AttentionScaleThatGgufCannotNameMovesIntoTheQueries) {
  TempDir dir;
  ModelConfig gemma = SmallGgufConfig("gemma3_text");
  gemma.attn_scale *= 0.5f;
  ModelConfig gpt2 = SmallGgufConfig("gpt2");
  gpt2.attn_scale *= 0.5f;
  const auto expect_halved = [&](const ModelConfig& config, const std::string& name) {
    const Model model = RandomGgufModel(config);
    WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32);
    const Model loaded = LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll);
    EXPECT_EQ(loaded.config.attn_scale, config.attn_scale * 2);
    std::vector<float> expected = ToF32(model.weights.Get(name));
    for (float& value : expected) value *= 0.5f;
    EXPECT_EQ(ToF32(loaded.weights.Get(name)), expected) << name;
  };
  expect_halved(gemma, "blocks.3.q_norm.weight");
  expect_halved(gpt2, "blocks.3.q.weight");
  expect_halved(gpt2, "blocks.3.q.bias");
}

TEST(GgufModelTest, AbsorbedNormsBecomeUnitGains) {
  TempDir dir;
  Model model = RandomGgufModel(SmallGgufConfig("llama"));
  auto& blocks = model.plan[Module::kFfnNorm].blocks;
  std::fill(blocks.begin(), blocks.end(), kAbsorbed);
  WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32);
  const Model loaded = LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll);
  EXPECT_EQ(ToF32(loaded.weights.Get("blocks.1.ffn_norm.weight")), std::vector<float>(32, 1.0f));
}

TEST(GgufModelTest, LayerNormFamiliesGetTheBiasesThatLlamaCppWants) {
  TempDir dir;
  ModelConfig config = SmallGgufConfig("gpt_neox");
  config.qkv_bias = config.o_bias = false;
  config.tied_embeddings = true;
  const Model model = RandomGgufModel(config);
  WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32);
  const Model loaded = LoadGgufModel(dir.File("m.gguf"), LoadParts::kAll);
  EXPECT_EQ(ToF32(loaded.weights.Get("blocks.0.v.bias")), std::vector<float>(32, 0.0f));
  EXPECT_EQ(ToF32(loaded.weights.Get("blocks.0.o.bias")), std::vector<float>(32, 0.0f));
  // llama.cpp knows no tied head here and wants it stored; reading finds that it is tied.
  const GgufFile file = GgufFile::Open(dir.File("m.gguf"));
  EXPECT_EQ(ToF32(file.tensors().at("output.weight")), ToF32(model.weights.Get("embed.weight")));
  EXPECT_TRUE(loaded.config.tied_embeddings);
}

TEST(GgufModelTest, ExportRefusesWhatOtherProgramsWouldComputeDifferently) {
  TempDir dir;
  const auto expect_refused = [&](ModelConfig config, const std::string& field) {
    try {
      WriteUniformGguf(RandomGgufModel(config), dir.File("m.gguf"), DType::kF32);
      ADD_FAILURE() << field << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.info().field, field) << error.what();
    }
    EXPECT_FALSE(std::filesystem::exists(dir.File("m.gguf")));
  };
  ModelConfig config = SmallGgufConfig("llama");
  config.activation = Activation::kRelu;
  expect_refused(config, "activation");
  config = SmallGgufConfig("qwen2");
  config.sliding_window = 8;
  config.local_layers = {0, 0, 1, 1, 1, 1, 1};
  expect_refused(config, "local_layers");
  config = SmallGgufConfig("gemma3_text");
  config.local_layers = {1, 0, 0, 1, 1, 1, 1};
  expect_refused(config, "local_layers");
  config = SmallGgufConfig("gemma");
  config.embed_scale = 1;
  expect_refused(config, "embed_scale");
  config = SmallGgufConfig("qwen3");
  config.o_bias = true;
  expect_refused(config, "bias");
  config = SmallGgufConfig("llama");
  config.family = "mamba";
  expect_refused(config, "family");
}

TEST(GgufModelTest, ExportRefusesATiedModel) {
  TempDir dir;
  Model model = RandomGgufModel(SmallGgufConfig("llama"));
  model.plan[Module::kV].blocks = {0, 0, 1, 2, 3, 4, 5};
  EXPECT_THROW(WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32), Error);
}

TEST(GgufModelTest, ExportRefusesPrefixVectors) {
  TempDir dir;
  Model model = RandomGgufModel(SmallGgufConfig("llama"));
  model.plan.prefix = 2;
  EXPECT_THAT([&] { WriteUniformGguf(model, dir.File("m.gguf"), DType::kF32); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("prefix vectors")));
}

}  // namespace
}  // namespace rondo
