#include "eval/exit_curve.h"

#include <gtest/gtest.h>

#include "engine/random_model.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

class ExitCurveTest : public testing::Test {
 protected:
  ExitCurve Measure(const ExitCurveOptions& options) {
    return MeasureExits(engine_, tokens_, options, kWindows);
  }
  static constexpr WindowOptions kWindows = {.context = 40, .stride = 25};
  ThreadPool pool_{2};
  // Blocks 0 and 1, three times.
  const Model model_ =
      RandomModel(LoopedConfig(), CyclePlan(LoopedConfig(), 2, ResidualKind::kLora, 2));
  const Engine engine_{model_, {}, pool_};
  const std::vector<int32_t> tokens_ = RandomTokens(200, 50);
};

TEST_F(ExitCurveTest, LastLoopIsTheModelItself) {
  const ExitCurve curve = Measure({});
  const PerplexityResult full = Perplexity(engine_, tokens_, kWindows);
  EXPECT_EQ(curve.loops, 3);
  EXPECT_EQ(curve.tokens, full.tokens);
  EXPECT_DOUBLE_EQ(curve.loop_perplexity[2], full.perplexity);
  EXPECT_EQ(curve.loop_agreement[2], 1);
}

TEST_F(ExitCurveTest, FirstLoopIsTheModelCutOffThere) {
  ModelConfig config = LoopedConfig();
  config.layers = 2;
  Model cut{.config = config,
            .plan = CyclePlan(config, 2, ResidualKind::kLora, 2),
            .weights = {},
            .path = {}};
  for (const TensorSpec& spec : ExpectedTensors(config, cut.plan)) {
    cut.weights.Set(spec.name, model_.weights.Get(spec.name));
  }
  const Engine engine(cut, {}, pool_);
  EXPECT_DOUBLE_EQ(Measure({}).loop_perplexity[0],
                   Perplexity(engine, tokens_, kWindows).perplexity);
}

TEST_F(ExitCurveTest, ThresholdsMoveBetweenTheEnds) {
  for (const ExitRule rule : {ExitRule::kConfidence, ExitRule::kEntropy, ExitRule::kHiddenChange}) {
    const ExitCurve curve = Measure({.rule = rule});
    ASSERT_EQ(curve.points.size(), 11u);
    EXPECT_EQ(curve.points[0].mean_loops, 1);
    EXPECT_DOUBLE_EQ(curve.points[0].perplexity, curve.loop_perplexity[0]);
    for (size_t i = 1; i < 11; ++i) {
      EXPECT_GE(curve.points[i].mean_loops, curve.points[i - 1].mean_loops) << Name(rule);
    }
    EXPECT_GT(curve.points[10].mean_loops, 1.5) << Name(rule);
    // A tenth of the tokens at a time leave at the first look.
    EXPECT_NEAR(curve.points[5].exit_share[0], 0.5, 0.02) << Name(rule);
  }
}

TEST_F(ExitCurveTest, NobodyLeavesBelowAnUnreachableThreshold) {
  const ExitCurve curve = Measure({.rule = ExitRule::kEntropy, .thresholds = {0, 100}});
  EXPECT_EQ(curve.points[0].threshold, 100);
  EXPECT_EQ(curve.points[0].mean_loops, 1);
  EXPECT_EQ(curve.points[1].mean_loops, 3);
  EXPECT_DOUBLE_EQ(curve.points[1].perplexity, curve.loop_perplexity[2]);
  EXPECT_EQ(Measure({.rule = ExitRule::kEntropy, .min_loops = 2, .thresholds = {100}})
                .points[0]
                .mean_loops,
            2);
}

TEST_F(ExitCurveTest, RefusesWhatHasNoCurve) {
  EXPECT_THROW(Measure({.rule = ExitRule::kNever}), Error);
  EXPECT_THROW(Measure({.min_loops = 4}), Error);
  const Model plain = RandomModel(LoopedConfig());
  const Engine engine(plain, {}, pool_);
  EXPECT_THROW(MeasureExits(engine, tokens_, {}, kWindows), Error);
}

}  // namespace
}  // namespace rondo
