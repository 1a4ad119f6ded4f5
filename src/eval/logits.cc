#include "eval/logits.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace rondo {

double LogSumExp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return static_cast<double>(top) + std::log(sum);
}

void ForEachLogits(const Engine& engine, KvCache& cache, std::span<const int32_t> ids,
                   const std::function<void(int64_t, std::span<const float>)>& visit) {
  const auto vocab = static_cast<size_t>(engine.config().vocab);
  cache.ExpectLength(static_cast<int>(ids.size()));
  for (size_t begin = 0; begin < ids.size(); begin += kLogitRows) {
    const size_t count = std::min<size_t>(kLogitRows, ids.size() - begin);
    const std::vector<float> logits = engine.Prefill(cache, ids.subspan(begin, count), true);
    for (size_t i = 0; i < count; ++i) {
      visit(static_cast<int64_t>(begin + i), std::span(logits).subspan(i * vocab, vocab));
    }
  }
}

}  // namespace rondo
