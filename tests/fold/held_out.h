// Comparing what models put out on tokens that they were not fitted to.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"
#include "rondo/engine.h"
#include "rondo/thread_pool.h"

namespace rondo {

inline std::vector<int32_t> RandomTokens(int count, int vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(rng.Next() % vocab));
  return tokens;
}

// [tokens, vocab]
inline std::vector<float> Logits(const Model& model, std::span<const int32_t> tokens,
                                 ThreadPool& pool) {
  const Engine engine(model, {}, pool);
  KvCache cache = engine.NewCache(static_cast<int>(tokens.size()));
  return engine.Prefill(cache, tokens, /*all_logits=*/true);
}

inline double MeanSquare(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return sum / static_cast<double>(a.size());
}

}  // namespace rondo
