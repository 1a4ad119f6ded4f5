#include "eval/logits.h"

#include <algorithm>
#include <vector>

namespace rondo {

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
