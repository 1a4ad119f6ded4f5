#include "kernels/depthwise_conv.h"

#include <algorithm>

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/depthwise_conv.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Row k of what output row `row` sees.
HWY_INLINE const float* Seen(const DepthwiseKernel& kernel, const float* history, const float* x,
                             int64_t row, int64_t k) {
  const int64_t from = row + k - (kernel.size - 1);
  return from < 0 ? history + (row + k) * kernel.width : x + from * kernel.width;
}

// Channels [i, i + kPanelVecs · lanes) of one row.
HWY_INLINE void Channels(const DepthwiseKernel& kernel, const float* history, const float* x,
                         int64_t row, int64_t i, float* y) {
  const PanelTag d;
  PanelVec sums[kPanelVecs];
  for (int v = 0; v < kPanelVecs; ++v) sums[v] = hn::LoadU(d, kernel.bias + i + v * kPanelLanes);
  for (int64_t k = 0; k < kernel.size; ++k) {
    const float* seen = Seen(kernel, history, x, row, k) + i;
    const float* weight = kernel.weight + k * kernel.width + i;
    for (int v = 0; v < kPanelVecs; ++v) {
      const int at = v * kPanelLanes;
      sums[v] = hn::MulAdd(hn::LoadU(d, weight + at), hn::LoadU(d, seen + at), sums[v]);
    }
  }
  for (int v = 0; v < kPanelVecs; ++v) hn::StoreU(sums[v], d, y + i + v * kPanelLanes);
}

// The channels behind the last whole panel, with the same arithmetic.
HWY_INLINE void LastChannels(const DepthwiseKernel& kernel, const float* history, const float* x,
                             int64_t row, int64_t i, float* y) {
  const PanelTag d;
  const int64_t count = kernel.width - i;
  HWY_ALIGN float a[kPanelWidth] = {}, b[kPanelWidth] = {};
  std::copy_n(kernel.bias + i, count, a);
  PanelVec sums[kPanelVecs];
  for (int v = 0; v < kPanelVecs; ++v) sums[v] = hn::Load(d, a + v * kPanelLanes);
  for (int64_t k = 0; k < kernel.size; ++k) {
    std::copy_n(kernel.weight + k * kernel.width + i, count, a);
    std::copy_n(Seen(kernel, history, x, row, k) + i, count, b);
    for (int v = 0; v < kPanelVecs; ++v) {
      const int at = v * kPanelLanes;
      sums[v] = hn::MulAdd(hn::Load(d, a + at), hn::Load(d, b + at), sums[v]);
    }
  }
  for (int v = 0; v < kPanelVecs; ++v) hn::Store(sums[v], d, a + v * kPanelLanes);
  std::copy_n(a, count, y + i);
}

void Convolve(const DepthwiseKernel& kernel, const float* history, const float* x, int64_t first,
              int64_t end, float* y) {
  for (int64_t row = first; row < end; ++row) {
    float* out = y + row * kernel.width;
    int64_t i = 0;
    for (; i + kPanelWidth <= kernel.width; i += kPanelWidth) {
      Channels(kernel, history, x, row, i, out);
    }
    if (i < kernel.width) LastChannels(kernel, history, x, row, i, out);
  }
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(Convolve);

void DepthwiseConv(const DepthwiseKernel& kernel, const float* history, const float* x,
                   int64_t first, int64_t end, float* y) {
  HWY_DYNAMIC_DISPATCH(Convolve)(kernel, history, x, first, end, y);
}

void KeepHistory(const DepthwiseKernel& kernel, const float* x, int64_t rows, float* history) {
  const int64_t kept = kernel.size - 1, from_x = std::min(rows, kept);
  // Earlier rows move to the front; the ranges may overlap.
  std::copy(history + from_x * kernel.width, history + kept * kernel.width, history);
  std::copy_n(x + (rows - from_x) * kernel.width, from_x * kernel.width,
              history + (kept - from_x) * kernel.width);
}

}  // namespace rondo
#endif  // HWY_ONCE
