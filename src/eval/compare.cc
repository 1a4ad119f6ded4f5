#include <algorithm>
#include <string>
#include <vector>

#include "base/progress.h"
#include "eval/divergence.h"
#include "eval/logits.h"
#include "eval/windows.h"
#include "rondo/error.h"
#include "rondo/eval.h"

namespace rondo {

Divergence Compare(const Engine& a, const Engine& b, std::span<const int32_t> tokens,
                   const WindowOptions& options) {
  if (a.config().vocab != b.config().vocab) {
    throw Error({.function = "Compare",
                 .problem = "vocabularies of " + std::to_string(a.config().vocab) + " and " +
                            std::to_string(b.config().vocab) + " tokens",
                 .expected = "models with the same vocabulary",
                 .field = "vocab"});
  }
  const auto vocab = static_cast<size_t>(a.config().vocab);
  const auto windows = MakeWindows(static_cast<int64_t>(tokens.size()), options, a.config());
  MakeWindows(static_cast<int64_t>(tokens.size()), options, b.config());
  Progress progress("compare", static_cast<int64_t>(windows.size()), options.quiet);
  KvCache cache_a = a.NewCache(options.context), cache_b = b.NewCache(options.context);
  DivergenceSums sums;
  for (const Window& window : windows) {
    const auto ids = tokens.subspan(static_cast<size_t>(window.begin),
                                    static_cast<size_t>(window.end - window.begin));
    const auto first = static_cast<size_t>(window.end - window.begin - window.scored);
    cache_a.Truncate(0);
    cache_b.Truncate(0);
    cache_a.ExpectLength(static_cast<int>(ids.size()));
    cache_b.ExpectLength(static_cast<int>(ids.size()));
    for (size_t begin = 0; begin < ids.size(); begin += kLogitRows) {
      const auto chunk = ids.subspan(begin, std::min<size_t>(kLogitRows, ids.size() - begin));
      const std::vector<float> rows_a = a.Prefill(cache_a, chunk, true);
      const std::vector<float> rows_b = b.Prefill(cache_b, chunk, true);
      for (size_t i = 0; i < chunk.size(); ++i) {
        if (begin + i < first) continue;
        sums.Add(std::span(rows_a).subspan(i * vocab, vocab),
                 std::span(rows_b).subspan(i * vocab, vocab));
      }
    }
    progress.Add();
  }
  return sums.Means(static_cast<int64_t>(vocab));
}

}  // namespace rondo
