#include "hub/gguf_rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace rondo {
namespace {

using testing::ElementsAre;

TEST(GgufRopeTest, OrdersAreEachOthersInverse) {
  EXPECT_THAT(ToHalfSplit(2, 4), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(ToInterleaved(1, 6), ElementsAre(0, 3, 1, 4, 2, 5));
  const auto there = ToHalfSplit(3, 10), back = ToInterleaved(3, 10);
  for (size_t i = 0; i < there.size(); ++i) {
    EXPECT_EQ(there[static_cast<size_t>(back[i])], static_cast<int64_t>(i));
  }
}

TEST(GgufRopeTest, VectorsAreReorderedLikeRows) {
  const Tensor vector = Tensor::FromF32({4}, std::vector<float>{0, 1, 2, 3});
  EXPECT_THAT(ToF32(Reorder(vector, ToHalfSplit(1, 4))), ElementsAre(0, 2, 1, 3));
}

// Values by the formula in Hugging Face transformers (modeling_rope_utils, llama3) for head_dim
// 128, theta 500000, factor 8, low 1, high 4, 8192 positions: entries 0, 31, 34 and 63.
TEST(GgufRopeTest, FactorsOfLlama31) {
  const RopeScaling scaling{.kind = RopeScalingKind::kLlama3,
                            .factor = 8,
                            .low_freq_factor = 1,
                            .high_freq_factor = 4,
                            .original_max_positions = 8192};
  const std::vector<float> factors = Llama3Factors(scaling, 128, 500000);
  ASSERT_EQ(factors.size(), 64u);
  EXPECT_EQ(factors[0], 1.0f);
  // transformers computes in f32: its own rounding, 2^-24 a step, is blown up by up to `factor`.
  EXPECT_NEAR(factors[31], 2.0263131f, 2e-5);
  EXPECT_NEAR(factors[34], 5.2573272f, 5e-5);
  EXPECT_EQ(factors[63], 8.0f);
}

struct Case {
  const char* name;
  RopeScaling scaling;
  int rotary_dim;
  float theta;
  int original_known;  // 0: the file does not say
};

class RecoverLlama3Test : public testing::TestWithParam<Case> {};

TEST_P(RecoverLlama3Test, FindsTheScaling) {
  const Case& c = GetParam();
  const auto factors = Llama3Factors(c.scaling, c.rotary_dim, c.theta);
  const auto found = RecoverLlama3(factors, c.rotary_dim, c.theta, c.original_known);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(*found, c.scaling);
}

constexpr RopeScalingKind kL3 = RopeScalingKind::kLlama3;
INSTANTIATE_TEST_SUITE_P(
    Published, RecoverLlama3Test,
    testing::Values(Case{"Llama31", {kL3, 8, 1, 4, 8192}, 128, 500000, 0},
                    Case{"Llama32", {kL3, 32, 1, 4, 8192}, 64, 500000, 0},
                    Case{"OtherContext", {kL3, 16, 1, 4, 4096}, 64, 10000, 0},
                    Case{"OtherContextKnown", {kL3, 4, 1, 4, 2048}, 16, 10000, 2048},
                    Case{"OtherBands", {kL3, 8, 1, 2.5f, 8192}, 128, 500000, 0},
                    Case{"OtherBandsKnown", {kL3, 8, 0.5f, 6, 1000}, 128, 500000, 1000},
                    Case{"SmallHead", {kL3, 8, 1, 4, 32}, 8, 500000, 32}),
    [](const auto& c) { return std::string(c.param.name); });

TEST(GgufRopeTest, OtherFactorsAreNotTakenForLlama3) {
  const RopeScaling scaling{.kind = kL3, .factor = 8, .original_max_positions = 8192};
  std::vector<float> factors = Llama3Factors(scaling, 64, 500000);
  factors[20] *= 1.01f;
  EXPECT_FALSE(RecoverLlama3(factors, 64, 500000, 0));
  EXPECT_FALSE(RecoverLlama3({}, 64, 500000, 0));
  EXPECT_FALSE(RecoverLlama3(std::vector<float>(32, NAN), 64, 500000, 0));
  EXPECT_FALSE(RecoverLlama3(std::vector<float>(32, 0.0f), 64, 500000, 0));
  EXPECT_FALSE(RecoverLlama3(std::vector<float>(32, INFINITY), 64, 500000, 0));
}

}  // namespace
}  // namespace rondo
