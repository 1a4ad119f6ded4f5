#include "eval/error_growth.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine/random_model.h"
#include "rondo/error.h"
#include "rondo/eval.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

TEST(ErrorGrowthTest, AgreesWithPerplexityAndCompare) {
  ThreadPool pool(1);
  const Model a = RandomModel(SmallConfig(), 1), b = RandomModel(SmallConfig(), 2);
  const Engine engine_a(a, {}, pool), engine_b(b, {}, pool);
  const auto tokens = RandomTokens(70, 50);
  for (const int stride : {0, 8}) {
    const WindowOptions options{.context = 24, .stride = stride};
    const ErrorGrowth growth = MeasureErrorGrowth(engine_a, engine_b, tokens, options);
    const Divergence divergence = Compare(engine_a, engine_b, tokens, options);
    EXPECT_DOUBLE_EQ(growth.perplexity_a, Perplexity(engine_a, tokens, options).perplexity);
    EXPECT_DOUBLE_EQ(growth.perplexity_b, Perplexity(engine_b, tokens, options).perplexity);
    EXPECT_EQ(growth.tokens, Perplexity(engine_a, tokens, options).tokens);
    EXPECT_DOUBLE_EQ(growth.divergence.kl, divergence.kl);
    EXPECT_EQ(growth.divergence.positions, divergence.positions);
    EXPECT_EQ(growth.divergence.top1_agreement, divergence.top1_agreement);
  }
}

// A change at one depth shows there and behind it, by as much as it is.
TEST(ErrorGrowthTest, StartsAtTheDepthThatDiffers) {
  ThreadPool pool(1);
  const Model a = RandomModel(SmallConfig(), 1);
  Model b = a;
  const std::string changed = BlockTensor(2, Module::kDown);
  std::vector<float> twice = ToF32(a.weights.Get(changed));
  for (float& value : twice) value *= 2;
  b.weights.Set(changed, Tensor::FromF32(a.weights.Get(changed).shape(), std::move(twice)));
  const Engine engine_a(a, {}, pool), engine_b(b, {}, pool);
  const ErrorGrowth growth =
      MeasureErrorGrowth(engine_a, engine_b, RandomTokens(24, 50), {.context = 24});
  ASSERT_EQ(growth.hidden.size(), 4u);
  EXPECT_EQ(growth.hidden[0], 0);
  EXPECT_EQ(growth.hidden[1], 0);
  EXPECT_GT(growth.hidden[2], 0);
  EXPECT_GT(growth.hidden[3], 0);
}

TEST(ErrorGrowthTest, OfAModelWithItselfIsZero) {
  ThreadPool pool(1);
  const Model a = RandomModel(SmallConfig(), 3);
  const Engine engine(a, {}, pool);
  const ErrorGrowth growth =
      MeasureErrorGrowth(engine, engine, RandomTokens(30, 50), {.context = 16});
  EXPECT_EQ(growth.hidden, std::vector<double>(4, 0.0));
  EXPECT_EQ(growth.divergence.max_abs_logit_diff, 0);
  EXPECT_EQ(growth.divergence.top1_agreement, 1);
}

TEST(ErrorGrowthTest, RefusesModelsOfOtherShapes) {
  ThreadPool pool(1);
  const Model a = RandomModel(SmallConfig(), 1);
  ModelConfig shallow = SmallConfig();
  shallow.layers = 3;
  Model b{shallow, IdentityPlan(shallow), {}, {}};
  for (const TensorSpec& spec : ExpectedTensors(shallow, b.plan)) {
    b.weights.Set(spec.name, a.weights.Get(spec.name));
  }
  const Engine engine_a(a, {}, pool), engine_b(b, {}, pool);
  EXPECT_THROW(MeasureErrorGrowth(engine_a, engine_b, RandomTokens(8, 50), {.context = 8}), Error);
}

}  // namespace
}  // namespace rondo
