#include "train/recipe/schedule.h"

#include <gtest/gtest.h>

#include "base/glob.h"

namespace rondo {
namespace {

TEST(Schedule, CosineWarmsUpAndFallsToItsEnd) {
  const LrOptions o = {.schedule = LrSchedule::kCosine, .warmup = 0.1, .final_lr = 0.2};
  EXPECT_DOUBLE_EQ(LrFactor(o, 0.05), 0.5);
  EXPECT_DOUBLE_EQ(LrFactor(o, 0.1), 1);
  EXPECT_DOUBLE_EQ(LrFactor(o, 0.55), 0.6);  // halfway down: (1 + 0.2) / 2
  EXPECT_DOUBLE_EQ(LrFactor(o, 1), 0.2);
  EXPECT_DOUBLE_EQ(LrFactor(o, 1.5), 0.2);
}

TEST(Schedule, TrapezoidIsFlatBetween) {
  const LrOptions o = {
      .schedule = LrSchedule::kTrapezoid, .warmup = 0.1, .decay = 0.2, .final_lr = 0};
  EXPECT_DOUBLE_EQ(LrFactor(o, 0.5), 1);
  EXPECT_DOUBLE_EQ(LrFactor(o, 0.8), 1);
  EXPECT_NEAR(LrFactor(o, 0.9), 0.5, 1e-12);
  EXPECT_NEAR(LrFactor(o, 1), 0, 1e-12);
}

TEST(Schedule, FadeEndsAtItsShareOfTheStage) {
  const FadeOptions o = {.kind = FadeKind::kLinear, .until = 0.5};
  const std::vector<int> groups = {0, 0, 1, 1};
  EXPECT_EQ(FadeWeights(o, groups, 0), std::vector<double>(4, 1.0));
  EXPECT_EQ(FadeWeights(o, groups, 0.25), std::vector<double>(4, 0.5));
  EXPECT_EQ(FadeWeights(o, groups, 0.5), std::vector<double>(4, 0.0));
  EXPECT_EQ(FadeWeights({}, groups, 0), std::vector<double>(4, 0.0));
}

TEST(Schedule, GroupsFadeOneAfterAnother) {
  const FadeOptions o = {.kind = FadeKind::kLinear, .until = 1, .window = 0.5};
  EXPECT_EQ(FadeWeights(o, {0, 1, 0, 1}, 0.5), (std::vector<double>{0, 1, 0, 1}));
  EXPECT_EQ(FadeWeights(o, {0, 1, 0, 1}, 0.75), (std::vector<double>{0, 0.5, 0, 0.5}));
  FadeOptions backward = o;
  backward.backward = true;
  EXPECT_EQ(FadeWeights(backward, {0, 1}, 0.5), (std::vector<double>{1, 0}));
}

TEST(Schedule, PowerSlowsTheEnd) {
  const FadeOptions o = {.kind = FadeKind::kLinear, .until = 1, .power = 2};
  EXPECT_DOUBLE_EQ(FadeWeights(o, {0}, 0.5)[0], 0.25);
}

TEST(Glob, MatchesWholeNames) {
  EXPECT_TRUE(GlobMatch("*", ""));
  EXPECT_TRUE(GlobMatch("residual.*.q.*", "residual.12.q.a"));
  EXPECT_FALSE(GlobMatch("residual.*.q.*", "residual.12.k.a"));
  EXPECT_FALSE(GlobMatch("blocks", "blocks.0"));
  EXPECT_TRUE(GlobMatch("*norm*weight", "final_norm.weight"));
  EXPECT_TRUE(GlobMatch("a*b*c", "abbbc"));
  EXPECT_FALSE(GlobMatch("a*b*c", "abbb"));
  EXPECT_TRUE(GlobMatch("step-??", "step-12"));
  EXPECT_FALSE(GlobMatch("step-??", "step-1"));
}

}  // namespace
}  // namespace rondo
