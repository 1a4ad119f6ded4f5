#include <algorithm>
#include <cmath>

#include "base/progress.h"
#include "eval/logits.h"
#include "eval/windows.h"
#include "kernels/log_softmax.h"
#include "rondo/eval.h"

namespace rondo {

PerplexityResult Perplexity(const Engine& engine, std::span<const int32_t> tokens,
                            const WindowOptions& options) {
  const auto windows = MakeWindows(static_cast<int64_t>(tokens.size()), options, engine.config());
  const auto vocab = static_cast<size_t>(engine.config().vocab);
  Progress progress("perplexity", static_cast<int64_t>(windows.size()), options.quiet);
  KvCache cache = engine.NewCache(options.context);
  PerplexityResult result;
  double total = 0;
  for (const Window& window : windows) {
    const int64_t length = window.end - window.begin;
    const auto ids = tokens.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(length));
    cache.Truncate(0);
    ForEachLogits(engine, cache, ids, [&](int64_t position, std::span<const float> logits) {
      const int64_t target = position + 1;
      if (target >= length || target < length - window.scored) return;
      const auto id = static_cast<size_t>(ids[static_cast<size_t>(target)]);
      total += LogSumExp(logits.first(vocab)) - logits[id];
      ++result.tokens;
    });
    ++result.windows;
    progress.Add();
  }
  result.nll = total / static_cast<double>(std::max<int64_t>(result.tokens, 1));
  result.perplexity = std::exp(result.nll);
  return result;
}

}  // namespace rondo
