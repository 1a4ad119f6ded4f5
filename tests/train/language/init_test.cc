// Models of random weights: what they are filled with, that they can be kept, and training from
// them.
#include "train/language/init.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/file.h"
#include "base/temp_dir.h"
#include "engine/engine_testing.h"
#include "rondo/error.h"
#include "rondo/speech_model.h"
#include "rondo/tokenizer.h"
#include "train/model/random_weights.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

const std::string kStories = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";

InitSection SmallInit() {
  InitSection init;
  init.tokenizer = kStories;
  init.layers = 8;
  init.d_model = 64;
  init.heads = 4;
  init.kv_heads = 2;
  init.max_positions = 64;
  return init;
}

double Deviation(const Model& model, const std::string& name) {
  double sum = 0;
  const std::vector<float> values = ToF32(model.weights.Get(name));
  for (const float v : values) sum += double{v} * v;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// The estimate of a deviation from n values is off by 1/sqrt(2n) of it; five times that is allowed.
void ExpectDeviation(const Model& model, const std::string& name, double expected) {
  const double n = static_cast<double>(model.weights.Get(name).elements());
  EXPECT_NEAR(Deviation(model, name) / expected, 1, 5 / std::sqrt(2 * n)) << name;
}

TEST(Init, FillsEveryKindOfTensor) {
  const Model model = InitialModel(SmallInit(), "recipe.toml");
  EXPECT_EQ(model.config.vocab, 512);
  EXPECT_EQ(model.config.d_ff, 192);  // 8/3 · 64 = 170.7, in steps of 32
  EXPECT_EQ(model.config.head_dim, 16);
  ExpectDeviation(model, "embed.weight", 0.02);
  ExpectDeviation(model, "blocks.7.q.weight", 0.02);
  ExpectDeviation(model, "blocks.0.gate.weight", 0.02);
  ExpectDeviation(model, "blocks.0.o.weight", 0.02 / std::sqrt(16.0));
  ExpectDeviation(model, "blocks.3.down.weight", 0.02 / std::sqrt(16.0));
  EXPECT_THAT(ToF32(model.weights.Get("blocks.0.attn_norm.weight")), Each(1.0f));
  EXPECT_FALSE(model.weights.Has("head.weight"));
  EXPECT_NE(ToF32(model.weights.Get("blocks.0.q.weight")),
            ToF32(model.weights.Get("blocks.1.q.weight")));
}

TEST(Init, SeedDecides) {
  InitSection init = SmallInit();
  const auto values = [&] {
    return ToF32(InitialModel(init, "").weights.Get("blocks.0.q.weight"));
  };
  const std::vector<float> first = values();
  EXPECT_EQ(values(), first);
  init.seed = 1;
  EXPECT_NE(values(), first);
}

TEST(Init, EveryFamilyIsKeptAsItIs) {
  for (const char* family : {"llama", "qwen3", "gpt2"}) {
    TempDir dir;
    InitSection init = SmallInit();
    init.family = family;
    if (init.family == "gpt2") init.kv_heads = 0;
    init.vocab = 520;  // more than the tokenizer's
    const Model model = InitialModel(init, "recipe.toml");
    SaveModel(model, dir.File("m"), DType::kF32);
    const Model read = LoadModel(dir.File("m"));
    EXPECT_EQ(read.config, model.config) << family;
    EXPECT_EQ(ToF32(read.weights.Get("embed.weight")), ToF32(model.weights.Get("embed.weight")));
    EXPECT_EQ(LoadTokenizer(dir.File("m"))->vocab_size(), 512);
    for (const float logit : AllLogits(read, RandomTokens(9, 512)))
      ASSERT_TRUE(std::isfinite(logit));
  }
}

TEST(Init, Gpt2BiasesAreZeroAndPositionsAreLearned) {
  InitSection init = SmallInit();
  init.family = "gpt2";
  init.kv_heads = 0;
  const Model model = InitialModel(init, "recipe.toml");
  EXPECT_EQ(model.config.d_ff, 256);
  EXPECT_THAT(ToF32(model.weights.Get("blocks.1.up.bias")), Each(0.0f));
  EXPECT_THAT(ToF32(model.weights.Get("blocks.1.ffn_norm.bias")), Each(0.0f));
  EXPECT_THAT(ToF32(model.weights.Get("final_norm.weight")), Each(1.0f));
  ExpectDeviation(model, "positions.weight", 0.02);
}

// A plan with residuals begins as the same plan without them.
TEST(Init, ResidualsOfAPlanAddNothingAtFirst) {
  for (const ResidualKind kind : {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora,
                                  ResidualKind::kMulDiag, ResidualKind::kKronecker}) {
    TempDir dir;
    const auto with = [&](ResidualKind residual) {
      InitSection init = SmallInit();
      const ModelConfig config = InitialModel(init, "").config;
      WriteTextFile(dir.File("plan.json"), PlanToJson(CyclePlan(config, 4, residual, 3)));
      init.plan = dir.File("plan.json");
      return InitialModel(init, "recipe.toml");
    };
    const Model plain = with(ResidualKind::kNone), relaxed = with(kind);
    EXPECT_FALSE(plain.weights.Has("blocks.4.q.weight"));
    EXPECT_GT(relaxed.weights.size(), plain.weights.size());
    const std::vector<int32_t> tokens = RandomTokens(9, 512);
    const std::vector<float> a = AllLogits(plain, tokens), b = AllLogits(relaxed, tokens);
    // DoRA divides by the lengths it multiplies with: a few roundings on logits below 1.
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5) << Name(kind);
  }
}

// Sums into the residual stream: four in a Conformer's layer, three in a decoder's.
TEST(RandomWeights, WhatIsAddedToTheStreamShrinksWithTheNumberOfSums) {
  Model conformer{.config = EncoderConfig(6, 48, 96, 4), .plan = {}, .weights = {}, .path = {}};
  conformer.config.conv_kernel = 5;
  conformer.plan = ResidualTransformerPlan(conformer.config, {.share = 3, .rank = 2});
  SetRandomWeights(
      7, "encoder.", [](const TensorSpec&) { return 0.5; }, conformer);
  CheckWeights(conformer.config, conformer.plan, conformer.weights, "");
  for (const char* module : {"o", "down", "pre_down", "conv_out"}) {
    ExpectDeviation(conformer, "blocks.1." + std::string(module) + ".weight", 0.5 / std::sqrt(24));
  }
  for (const char* module : {"q", "k", "v", "up", "pre_up", "conv_in", "conv_depth"}) {
    ExpectDeviation(conformer, "blocks.1." + std::string(module) + ".weight", 0.5);
  }
  EXPECT_THAT(ToF32(conformer.weights.Get("residual.4.o.b")), Each(0.0f));

  Model decoder{.config = EncoderConfig(2, 48, 96, 4), .plan = {}, .weights = {}, .path = {}};
  decoder.config.cross_attention = true;
  decoder.config.vocab = 40;
  decoder.plan = IdentityPlan(decoder.config);
  SetRandomWeights(
      7, "decoder.", [](const TensorSpec&) { return 0.5; }, decoder);
  ExpectDeviation(decoder, "blocks.1.cross_o.weight", 0.5 / std::sqrt(6));
  ExpectDeviation(decoder, "blocks.1.cross_q.weight", 0.5);
}

std::string ErrorOf(const std::function<void(InitSection&)>& change) {
  InitSection init = SmallInit();
  change(init);
  try {
    InitialModel(init, "recipe.toml");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Init, BadInputIsNamed) {
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.tokenizer = ""; }), HasSubstr("init.tokenizer"));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.family = "lama"; }),
              AllOf(HasSubstr("init.family"), HasSubstr("'lama'"), HasSubstr("llama")));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.heads = 5; }),
              AllOf(HasSubstr("init.heads"), HasSubstr("divisor of d_model (64)")));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.vocab = 100; }),
              AllOf(HasSubstr("init.vocab"), HasSubstr("512")));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.layers = 0; }),
              AllOf(HasSubstr("recipe.toml"), HasSubstr("layers")));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.kv_heads = 3; }), HasSubstr("kv_heads"));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.deviation = -1; }), HasSubstr("init.deviation"));
  EXPECT_THAT(ErrorOf([](InitSection& o) { o.plan = "nowhere.json"; }), HasSubstr("nowhere.json"));
}

}  // namespace
}  // namespace rondo
