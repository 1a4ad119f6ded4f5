#include "kernels/log_softmax.h"

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/log_softmax.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/softmax-inl.h"

#ifndef RONDO_SOFTMAX_SUMS
#define RONDO_SOFTMAX_SUMS
namespace rondo {

// Of shifted = x − largest: Σ exp(shifted) and Σ exp(shifted) · shifted.
struct SoftmaxSums {
  float largest;
  double exponentials, weighted;
};

}  // namespace rondo
#endif

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

template <bool kWeighted>
HWY_INLINE SoftmaxSums Sums(const float* x, int64_t count) {
  const PanelTag d;
  const float largest = Largest(x, count);
  const PanelVec top = hn::Set(d, largest);
  BlockSum exponentials, weighted;
  const auto add = [&](PanelVec value) HWY_ATTR {
    const PanelVec shifted = hn::Sub(value, top);
    // Highway's exponential of a NaN is 0.
    const PanelVec e = hn::IfThenElse(hn::IsNaN(value), value, hn::Exp(d, shifted));
    exponentials.Add(e);
    // 0 · -infinity would be a NaN.
    if (kWeighted) weighted.Add(hn::IfThenElseZero(hn::Gt(e, hn::Zero(d)), hn::Mul(e, shifted)));
  };
  const auto flush = [&]() HWY_ATTR {
    exponentials.Flush();
    if (kWeighted) weighted.Flush();
  };
  const int64_t whole = count / kPanelLanes * kPanelLanes;
  InBlocks(
      whole, [&](int64_t i) HWY_ATTR { add(hn::LoadU(d, x + i)); }, [](int64_t) HWY_ATTR {}, flush);
  if (whole < count) {
    HWY_ALIGN float last[kPanelWidth];
    std::fill_n(last, kPanelWidth, -std::numeric_limits<float>::infinity());
    std::copy(x + whole, x + count, last);
    add(hn::Load(d, last));
    flush();
  }
  return {largest, exponentials.total, weighted.total};
}

SoftmaxSums PlainSums(const float* x, int64_t count) { return Sums<false>(x, count); }
SoftmaxSums WeightedSums(const float* x, int64_t count) { return Sums<true>(x, count); }

// x = (x − first) − second, which keeps the digits that x − (first + second) loses.
void SubtractTwice(float* x, int64_t count, float first, float second) {
  const PanelTag d;
  int64_t i = 0;
  for (; i + kPanelLanes <= count; i += kPanelLanes) {
    const PanelVec shifted = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, first));
    hn::StoreU(hn::Sub(shifted, hn::Set(d, second)), d, x + i);
  }
  for (; i < count; ++i) x[i] = (x[i] - first) - second;
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(PlainSums);
HWY_EXPORT(WeightedSums);
HWY_EXPORT(SubtractTwice);

namespace {

// Where the largest value is infinite, or none was found, the sum follows without exponentials.
double SumWithoutTop(std::span<const float> x, float largest) {
  const bool nan = std::ranges::any_of(x, [](float value) { return std::isnan(value); });
  return nan ? std::numeric_limits<double>::quiet_NaN() : double{largest};
}

}  // namespace

double LogSumExp(std::span<const float> x) {
  const auto sums = HWY_DYNAMIC_DISPATCH(PlainSums)(x.data(), std::ssize(x));
  if (!std::isfinite(sums.largest)) return SumWithoutTop(x, sums.largest);
  return sums.largest + std::log(sums.exponentials);
}

void LogSoftmax(std::span<float> logits, int64_t width) {
  const auto step = static_cast<size_t>(width);
  for (size_t at = 0; at < logits.size(); at += step) {
    const std::span<float> row = logits.subspan(at, step);
    const auto sums = HWY_DYNAMIC_DISPATCH(PlainSums)(row.data(), width);
    if (std::isfinite(sums.largest)) {
      HWY_DYNAMIC_DISPATCH(SubtractTwice)
      (row.data(), width, sums.largest, static_cast<float>(std::log(sums.exponentials)));
    } else if (SumWithoutTop(row, sums.largest) != -std::numeric_limits<double>::infinity()) {
      std::ranges::fill(row, std::numeric_limits<float>::quiet_NaN());
    }
  }
}

Certainty CertaintyOf(std::span<const float> logits) {
  const auto sums = HWY_DYNAMIC_DISPATCH(WeightedSums)(logits.data(), std::ssize(logits));
  return {.confidence = 1 / sums.exponentials,
          .entropy = std::log(sums.exponentials) - sums.weighted / sums.exponentials};
}

}  // namespace rondo
#endif  // HWY_ONCE
