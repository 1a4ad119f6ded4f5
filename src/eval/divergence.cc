#include "eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "kernels/log_softmax.h"

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

}  // namespace

void DivergenceSums::Add(std::span<const float> a, std::span<const float> b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - double{b[i]});
    difference_ += difference;
    // A NaN must not hide behind max(): it compares false with everything.
    if (!(difference <= result_.max_abs_logit_diff)) result_.max_abs_logit_diff = difference;
    result_.max_abs_logit = std::max(result_.max_abs_logit, double{std::abs(a[i])});
  }
  kl_ += RowKl(a, b);
  agree_ += std::max_element(a.begin(), a.end()) - a.begin() ==
            std::max_element(b.begin(), b.end()) - b.begin();
  ++result_.positions;
}

Divergence DivergenceSums::Means(int64_t vocab) const {
  const auto positions = static_cast<double>(std::max<int64_t>(result_.positions, 1));
  Divergence means = result_;
  means.mean_abs_logit_diff = difference_ / positions / static_cast<double>(vocab);
  means.kl = kl_ / positions;
  means.top1_agreement = static_cast<double>(agree_) / positions;
  return means;
}

}  // namespace rondo
