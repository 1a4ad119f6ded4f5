#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/progress.h"
#include "eval/logits.h"
#include "eval/windows.h"
#include "rondo/error.h"
#include "rondo/eval.h"

namespace rondo {
namespace {

// Σ p_a (log p_a − log p_b).
double RowKl(std::span<const float> a, std::span<const float> b) {
  const double norm_a = LogSumExp(a), norm_b = LogSumExp(b);
  double kl = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double log_a = a[i] - norm_a;
    kl += std::exp(log_a) * (log_a - (b[i] - norm_b));
  }
  return kl;
}

struct Sums {
  double difference = 0;
  double kl = 0;
  int64_t agree = 0;
};

void AddRow(std::span<const float> a, std::span<const float> b, Sums* sums, Divergence* result) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - double{b[i]});
    sums->difference += difference;
    // A NaN must not hide behind max(): it compares false with everything.
    if (!(difference <= result->max_abs_logit_diff)) result->max_abs_logit_diff = difference;
    result->max_abs_logit = std::max(result->max_abs_logit, double{std::abs(a[i])});
  }
  sums->kl += RowKl(a, b);
  sums->agree += std::max_element(a.begin(), a.end()) - a.begin() ==
                 std::max_element(b.begin(), b.end()) - b.begin();
  ++result->positions;
}

}  // namespace

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
  Divergence result;
  Sums sums;
  for (const Window& window : windows) {
    const auto ids = tokens.subspan(static_cast<size_t>(window.begin),
                                    static_cast<size_t>(window.end - window.begin));
    const auto first = static_cast<size_t>(window.end - window.begin - window.scored);
    cache_a.Truncate(0);
    cache_b.Truncate(0);
    for (size_t begin = 0; begin < ids.size(); begin += kLogitRows) {
      const auto chunk = ids.subspan(begin, std::min<size_t>(kLogitRows, ids.size() - begin));
      const std::vector<float> rows_a = a.Prefill(cache_a, chunk, true);
      const std::vector<float> rows_b = b.Prefill(cache_b, chunk, true);
      for (size_t i = 0; i < chunk.size(); ++i) {
        if (begin + i < first) continue;
        AddRow(std::span(rows_a).subspan(i * vocab, vocab),
               std::span(rows_b).subspan(i * vocab, vocab), &sums, &result);
      }
    }
    progress.Add();
  }
  const auto positions = static_cast<double>(std::max<int64_t>(result.positions, 1));
  result.mean_abs_logit_diff = sums.difference / positions / static_cast<double>(vocab);
  result.kl = sums.kl / positions;
  result.top1_agreement = static_cast<double>(sums.agree) / positions;
  return result;
}

}  // namespace rondo
