#include "kernels/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::FloatEq;

ModelConfig RopeConfig() {
  ModelConfig config;
  config.head_dim = config.rotary_dim = 8;
  config.rope_theta = 10000;
  return config;
}

TEST(RopeFrequencies, FallGeometrically) {
  EXPECT_THAT(RopeFrequencies(RopeConfig(), false),
              ElementsAre(FloatEq(1), FloatEq(0.1f), FloatEq(0.01f), FloatEq(0.001f)));
}

TEST(RopeFrequencies, PartialRotaryHasItsOwnExponent) {
  ModelConfig config = RopeConfig();
  config.rotary_dim = 4;
  EXPECT_THAT(RopeFrequencies(config, false), ElementsAre(FloatEq(1), FloatEq(0.01f)));
}

TEST(RopeFrequencies, LinearScalingDividesThem) {
  ModelConfig config = RopeConfig();
  config.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 4};
  EXPECT_THAT(RopeFrequencies(config, false),
              ElementsAre(FloatEq(0.25f), FloatEq(0.025f), FloatEq(0.0025f), FloatEq(0.00025f)));
}

// With a context of 100 the wavelengths 6.3, 63, 628, 6283 lie: below 100/4 kept, above 100/1
// divided, 63 between: smooth = (100/62.83 - 1) / 3.
TEST(RopeFrequencies, Llama3ScalingBlends) {
  ModelConfig config = RopeConfig();
  config.rope_scaling = {.kind = RopeScalingKind::kLlama3,
                         .factor = 8,
                         .low_freq_factor = 1,
                         .high_freq_factor = 4,
                         .original_max_positions = 100};
  const double smooth = (100 * 0.1 / (2 * std::numbers::pi) - 1) / 3;
  const auto blended = static_cast<float>((1 - smooth) * 0.1 / 8 + smooth * 0.1);
  EXPECT_THAT(RopeFrequencies(config, false),
              ElementsAre(FloatEq(1), FloatEq(blended), FloatEq(0.01f / 8), FloatEq(0.001f / 8)));
}

// The numbers of the following are those of transformers' ROPE_INIT_FUNCTIONS.
TEST(RopeFrequencies, YarnBlendsByDimension) {
  ModelConfig config;
  config.head_dim = config.rotary_dim = 16;
  config.rope_scaling = {
      .kind = RopeScalingKind::kYarn, .factor = 4, .original_max_positions = 128};
  EXPECT_THAT(RopeFrequencies(config, false),
              ElementsAre(FloatEq(1), FloatEq(0.237170815f), FloatEq(0.049999997f),
                          FloatEq(0.00790569466f), FloatEq(0.00249999994f),
                          FloatEq(0.000790569466f), FloatEq(0.00025f), FloatEq(7.90569466e-05f)));
  config.rope_scaling.beta_fast = 8;
  config.rope_scaling.beta_slow = 2;
  config.rope_scaling.truncate = false;
  const std::vector<float> uneven = RopeFrequencies(config, false);
  EXPECT_NEAR(uneven[1], 0.279174536f, 1e-7f);
  EXPECT_NEAR(uneven[2], 0.0259965975f, 1e-8f);
}

TEST(RopeFrequencies, DynamicScalingBeginsBehindTheOriginalPositions) {
  ModelConfig config = RopeConfig();
  config.rope_scaling = {
      .kind = RopeScalingKind::kDynamic, .factor = 2, .original_max_positions = 64};
  const auto plain = ElementsAre(FloatEq(1), FloatEq(0.1f), FloatEq(0.01f), FloatEq(0.001f));
  EXPECT_THAT(RopeFrequencies(config, false), plain);
  EXPECT_THAT(RopeFrequencies(config, false, 64), plain);
  EXPECT_THAT(RopeFrequencies(config, false, 100),
              ElementsAre(FloatEq(1), FloatEq(0.0777822211f), FloatEq(0.00605007401f),
                          FloatEq(0.000470588246f)));
}

ModelConfig LongRopeConfig() {
  ModelConfig config = RopeConfig();
  config.rope_scaling = {.kind = RopeScalingKind::kLongRope,
                         .factor = 4,
                         .original_max_positions = 64,
                         .attention_factor = 1.25f,
                         .short_factors = {1, 1.5f, 2, 2.5f},
                         .long_factors = {2, 4, 6, 8}};
  return config;
}

TEST(RopeFrequencies, LongRopeHasDivisorsForShortAndForLongTexts) {
  EXPECT_THAT(RopeFrequencies(LongRopeConfig(), false, 64),
              ElementsAre(FloatEq(1), FloatEq(0.0666666701f), FloatEq(0.005f), FloatEq(0.0004f)));
  EXPECT_THAT(
      RopeFrequencies(LongRopeConfig(), false, 65),
      ElementsAre(FloatEq(0.5f), FloatEq(0.025f), FloatEq(0.00166666671f), FloatEq(0.000125f)));
}

TEST(Rope, AnglesFollowTheLengthOfEachRowsText) {
  const ModelConfig config = LongRopeConfig();
  const int positions[] = {3, 3, 5}, lengths[] = {10, 70, 70};
  const std::vector<float> angles = Rope(config, false).Angles(positions, lengths);
  ASSERT_EQ(angles.size(), 3u * 8u);
  const std::vector<float> shorter = RopeFrequencies(config, false, 10);
  const std::vector<float> longer = RopeFrequencies(config, false, 70);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(angles[i], 1.25f * std::cos(3 * shorter[i]));
    EXPECT_FLOAT_EQ(angles[8 + i], 1.25f * std::cos(3 * longer[i]));
    EXPECT_FLOAT_EQ(angles[16 + 4 + i], 1.25f * std::sin(5 * longer[i]));
  }
}

TEST(Rope, ModelsWithOtherPositionsTurnNothing) {
  ModelConfig config = RopeConfig();
  config.positions = PositionKind::kLearned;
  EXPECT_TRUE(Rope(config, false).empty());
  EXPECT_TRUE(Rope().empty());
}

TEST(RopeFrequencies, LocalLayersWithTheirOwnThetaAreNotScaled) {
  ModelConfig config = RopeConfig();
  config.rope_theta = 1e6f;
  config.rope_local_theta = 10000;
  config.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 4};
  EXPECT_THAT(RopeFrequencies(config, true),
              ElementsAre(FloatEq(1), FloatEq(0.1f), FloatEq(0.01f), FloatEq(0.001f)));
  config.rope_local_theta = 0;
  EXPECT_EQ(RopeFrequencies(config, true), RopeFrequencies(config, false));
}

TEST(ApplyRope, TurnsPairsHalfTheRotaryDimensionApart) {
  const std::vector<int> positions = {0, 3};
  const std::vector<float> frequencies = {1, 0.5f};
  const std::vector<float> angles = RopeAngles(positions, frequencies);
  ASSERT_EQ(angles.size(), 8u);
  // Two heads of 5 elements, of which 4 rotate.
  std::vector<float> x = {1, 2, 3, 4, 5, -1, 0, 0, 1, 9};
  const std::vector<float> before = x;
  ApplyRope(x.data(), 2, 5, 4, angles.data());
  EXPECT_EQ(x, before);  // position 0
  ApplyRope(x.data(), 2, 5, 4, angles.data() + 4);
  const double c = std::cos(3.0), s = std::sin(3.0), c2 = std::cos(1.5), s2 = std::sin(1.5);
  const double expected[] = {
      c - 3 * s, 2 * c2 - 4 * s2, 3 * c + s, 4 * c2 + 2 * s2, 5, -c, -s2, -s, c2, 9};
  for (int i = 0; i < 10; ++i) EXPECT_NEAR(x[i], expected[i], 1e-6);
}

}  // namespace
}  // namespace rondo
