#include <gmock/gmock.h>

#include "fold/random_model.h"
#include "quant/type_rules.h"
#include "rondo/error.h"
#include "rondo/quantize.h"

namespace rondo {
namespace {

// Rows of 512 and of 768 (K blocks fit), 96 (blocks of 32 only) and 24 (neither) numbers.
Model Sized(int d_model, int d_ff) {
  ModelConfig config = LlamaConfig(2);
  config.d_model = d_model;
  config.d_ff = d_ff;
  return RandomModel(config, 1);
}

TEST(ChooseTypes, EveryTensorGetsTheTypeOfItsPart) {
  const Model model = Sized(512, 768);
  const TypeChoice choice = ChooseTypes(model, {.type = DType::kQ4_0,
                                                .residual = DType::kQ8_0,
                                                .embedding = DType::kQ6_K,
                                                .head = DType::kQ5_K});
  EXPECT_EQ(choice.types.size(), model.weights.size());
  EXPECT_EQ(choice.types.at("blocks.1.up.weight"), DType::kQ4_0);
  EXPECT_EQ(choice.types.at("embed.weight"), DType::kQ6_K);
  EXPECT_EQ(choice.types.at("head.weight"), DType::kQ5_K);
  EXPECT_EQ(choice.types.at("blocks.0.attn_norm.weight"), DType::kF32);
  // o reads heads · head_dim = 24 inputs.
  EXPECT_EQ(choice.types.at("blocks.0.o.weight"), DType::kF16);
  ASSERT_EQ(choice.fallbacks.size(), 2u);
  EXPECT_EQ(choice.fallbacks[1].tensor, "blocks.1.o.weight");
  EXPECT_EQ(choice.fallbacks[1].wanted, DType::kQ4_0);
  EXPECT_EQ(choice.fallbacks[1].used, DType::kF16);
}

TEST(ChooseTypes, PrefixVectorsStayF32) {
  Model model = Sized(96, 512);
  model.plan.prefix = 4;
  const TypeChoice choice = ChooseTypes(model, {.type = DType::kQ4_0, .residual = DType::kQ8_0});
  EXPECT_EQ(choice.types.at("residual.1.prefix.k"), DType::kF32);
  EXPECT_EQ(choice.types.at("residual.1.prefix.v"), DType::kF32);
}

TEST(ChooseTypes, KTypesFallBackToBlocksOf32) {
  const Model model = Sized(96, 512);
  const auto type = [&](DType wanted, const char* name) {
    return ChooseTypes(model, {.type = wanted}).types.at(name);
  };
  EXPECT_EQ(type(DType::kQ4_K, "blocks.0.down.weight"), DType::kQ4_K);  // 512 inputs
  EXPECT_EQ(type(DType::kQ4_K, "blocks.0.up.weight"), DType::kQ5_0);    // 96 inputs
  EXPECT_EQ(type(DType::kQ5_K, "blocks.0.up.weight"), DType::kQ5_1);
  EXPECT_EQ(type(DType::kQ6_K, "blocks.0.up.weight"), DType::kQ8_0);
}

TEST(ChooseTypes, RulesForTensorsComeBeforeTheirParts) {
  const Model model = Sized(96, 512);
  const QuantizeOptions options = {
      .type = DType::kQ3_1,
      .tensors = {{"blocks.*", DType::kQ2_0}, {"blocks.?.down.weight", DType::kQ4_1}}};
  const TypeChoice choice = ChooseTypes(model, options);
  EXPECT_EQ(choice.types.at("blocks.0.up.weight"), DType::kQ2_0);
  EXPECT_EQ(choice.types.at("blocks.1.down.weight"), DType::kQ4_1);  // the last that matches
  EXPECT_EQ(choice.types.at("blocks.0.attn_norm.weight"), DType::kF32);
  EXPECT_EQ(choice.types.at("embed.weight"), DType::kQ8_0);
  EXPECT_TRUE(NeedsNativeGguf(choice.types));
  EXPECT_FALSE(NeedsNativeGguf(ChooseTypes(model, {.type = DType::kQ4_0}).types));
}

TEST(ChooseTypes, ARuleThatMatchesNoMatrixIsAnError) {
  const Model model = Sized(96, 512);
  for (const char* pattern : {"blocks.7.up.weight", "blocks.*.attn_norm.weight", "up"}) {
    EXPECT_THAT(
        [&] {
          ChooseTypes(model, {.tensors = {{pattern, DType::kQ2_0}}});
        },
        testing::ThrowsMessage<Error>(testing::HasSubstr(pattern)));
  }
}

TEST(TensorTypeRule, IsReadAndWrittenAsText) {
  TensorTypeRule rule;
  ASSERT_TRUE(FromText("blocks.*.up.weight=Q3_1", rule));
  EXPECT_EQ(rule, (TensorTypeRule{"blocks.*.up.weight", DType::kQ3_1}));
  EXPECT_EQ(ToText(rule), "blocks.*.up.weight=q3_1");
  for (const char* text : {"blocks.*", "=q3_1", "a=q7_0", "a="}) {
    EXPECT_FALSE(FromText(text, rule)) << text;
  }
}

}  // namespace
}  // namespace rondo
