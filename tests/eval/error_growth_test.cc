#include "rondo/error_growth.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "model/tiny_config.h"
#include "rondo/error.h"
#include "rondo/eval.h"

namespace rondo {
namespace {

Model RandomTiny(uint64_t seed) {
  const ModelConfig config = TinyLlamaConfig();
  Model model{config, IdentityPlan(config), {}, {}};
  Rng rng(seed);
  for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
    std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
    for (float& value : values) value = static_cast<float>(rng.Normal());
    model.weights.Set(spec.name, Tensor::FromF32(spec.shape, std::move(values)));
  }
  return model;
}

std::vector<int32_t> Tokens(int count) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(i * 7 % 16);
  return tokens;
}

TEST(ErrorGrowthTest, AgreesWithPerplexityAndCompare) {
  ThreadPool pool(1);
  const Model a = RandomTiny(1), b = RandomTiny(2);
  const Engine engine_a(a, {}, pool), engine_b(b, {}, pool);
  const auto tokens = Tokens(70);
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
  const Model a = RandomTiny(1);
  Model b = a;
  const std::string changed = BlockTensor(2, Module::kDown);
  std::vector<float> twice = ToF32(a.weights.Get(changed));
  for (float& value : twice) value *= 2;
  b.weights.Set(changed, Tensor::FromF32(a.weights.Get(changed).shape(), std::move(twice)));
  const Engine engine_a(a, {}, pool), engine_b(b, {}, pool);
  const ErrorGrowth growth = MeasureErrorGrowth(engine_a, engine_b, Tokens(24), {.context = 24});
  ASSERT_EQ(growth.hidden.size(), 4u);
  EXPECT_EQ(growth.hidden[0], 0);
  EXPECT_EQ(growth.hidden[1], 0);
  EXPECT_GT(growth.hidden[2], 0);
  EXPECT_GT(growth.hidden[3], 0);
}

TEST(ErrorGrowthTest, OfAModelWithItselfIsZero) {
  ThreadPool pool(1);
  const Model a = RandomTiny(3);
  const Engine engine(a, {}, pool);
  const ErrorGrowth growth = MeasureErrorGrowth(engine, engine, Tokens(30), {.context = 16});
  EXPECT_EQ(growth.hidden, std::vector<double>(4, 0.0));
  EXPECT_EQ(growth.divergence.max_abs_logit_diff, 0);
  EXPECT_EQ(growth.divergence.top1_agreement, 1);
}

TEST(ErrorGrowthTest, RefusesModelsOfOtherShapes) {
  ThreadPool pool(1);
  const Model a = RandomTiny(1);
  ModelConfig shallow = TinyLlamaConfig();
  shallow.layers = 3;
  Model b{shallow, IdentityPlan(shallow), {}, {}};
  for (const TensorSpec& spec : ExpectedTensors(shallow, b.plan)) {
    b.weights.Set(spec.name, a.weights.Get(spec.name));
  }
  const Engine engine_a(a, {}, pool), engine_b(b, {}, pool);
  EXPECT_THROW(MeasureErrorGrowth(engine_a, engine_b, Tokens(8), {.context = 8}), Error);
}

}  // namespace
}  // namespace rondo
