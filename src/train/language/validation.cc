#include "train/language/validation.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "eval/windows.h"
#include "train/loss/head_loss.h"

namespace rondo {

PerplexityResult MeasurePerplexity(const Teacher& model, std::span<const int32_t> tokens,
                                   const WindowOptions& options) {
  const auto windows = MakeWindows(static_cast<int64_t>(tokens.size()), options, model.config());
  PerplexityResult result;
  double total = 0;
  for (const Window& window : windows) {
    const int64_t length = window.end - window.begin;
    const auto ids = tokens.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(length));
    const TeacherOutput out = model.Run(ids, ShapeOfRows(1, length));
    std::vector<int32_t> targets(static_cast<size_t>(length), -1);
    for (int64_t i = std::max<int64_t>(1, length - window.scored); i < length; ++i) {
      targets[static_cast<size_t>(i) - 1] = ids[static_cast<size_t>(i)];
      ++result.tokens;
    }
    total += SumCrossEntropy(model.head(), out.normed, targets);
    ++result.windows;
  }
  result.nll = total / static_cast<double>(std::max<int64_t>(result.tokens, 1));
  result.perplexity = std::exp(result.nll);
  return result;
}

}  // namespace rondo
