#include "rondo/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/thread_pool.h"
#include "engine/random_model.h"
#include "engine/reference_forward.h"
#include "rondo/error.h"

namespace rondo {
namespace {

std::vector<float> AllLogits(const Model& model, std::span<const int32_t> tokens,
                             DType weights = DType::kF32, int threads = 2) {
  ThreadPool pool(threads);
  const Engine engine(model, {.weights = weights}, pool);
  KvCache cache = engine.NewCache(static_cast<int>(tokens.size()));
  return engine.Prefill(cache, tokens, /*all_logits=*/true);
}

// f32 rounding: each of the ~10 operations a layer does in sequence adds a relative error of about
// epsilon · sqrt(width), independent of the others, so their sum grows with sqrt(10 · layers).
double Tolerance(const ModelConfig& config, const std::vector<double>& logits) {
  double largest = 0;
  for (const double v : logits) largest = std::max(largest, std::abs(v));
  const double width = std::max(config.d_model, config.d_ff);
  return 0x1p-23 * std::sqrt(width) * std::sqrt(10.0 * config.layers) * largest;
}

void ExpectMatchesReference(const Model& model, int length = 40) {
  const std::vector<int32_t> tokens = RandomTokens(length, model.config.vocab);
  const std::vector<double> expected = ReferenceLogits(model, tokens);
  const std::vector<float> logits = AllLogits(model, tokens);
  ASSERT_EQ(logits.size(), expected.size());
  const double tolerance = Tolerance(model.config, expected);
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    worst = std::max(worst, std::abs(logits[i] - expected[i]));
  EXPECT_LE(worst, tolerance);
}

TEST(Engine, LlamaLike) { ExpectMatchesReference(RandomModel(SmallConfig())); }

}  // namespace
}  // namespace rondo
