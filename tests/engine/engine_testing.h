// Running a model whole and comparing it with the reference pass.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "engine/random_model.h"
#include "engine/reference_forward.h"
#include "rondo/engine.h"
#include "rondo/thread_pool.h"

namespace rondo {

// Logits [tokens, vocab] of one prefill from an empty cache.
inline std::vector<float> AllLogits(const Model& model, std::span<const int32_t> tokens,
                                    DType weights = DType::kF32, int threads = 2) {
  ThreadPool pool(threads);
  const Engine engine(model, {.weights = weights}, pool);
  KvCache cache = engine.NewCache(static_cast<int>(tokens.size()));
  return engine.Prefill(cache, tokens, /*all_logits=*/true);
}

inline double LargestMagnitude(const std::vector<double>& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

inline double WorstDifference(const std::vector<float>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

// Each of the ~10 operations that a layer does in sequence adds a relative rounding error of about
// epsilon · sqrt(width); they are independent, so their sum grows with sqrt(10 · layers). The
// factor 4 allows for what norms and softmax amplify on the way and for the largest of many errors.
inline double Tolerance(const ModelConfig& config, const std::vector<double>& logits) {
  const double width = std::max({config.d_model, config.d_ff, config.heads * config.head_dim});
  return 4 * 0x1p-23 * std::sqrt(width) * std::sqrt(10.0 * config.layers) *
         LargestMagnitude(logits);
}

inline void ExpectMatchesReference(const Model& model, int length = 40) {
  const std::vector<int32_t> tokens = RandomTokens(length, model.config.vocab);
  const std::vector<double> expected = ReferenceLogits(model, tokens);
  const std::vector<float> logits = AllLogits(model, tokens);
  ASSERT_EQ(logits.size(), expected.size());
  EXPECT_LE(WorstDifference(logits, expected), Tolerance(model.config, expected));
}

}  // namespace rondo
