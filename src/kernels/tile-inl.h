// The register-blocked product under MatMul and attention: a few rows of x times panels of 16
// outputs. Included once per instruction set by kernels that use foreach_target.
//
// Each output is one chain of fused multiply-adds over k in ascending order, whichever tile shape
// computes it. That is what makes results independent of batch, chunk and thread count.
#if defined(RONDO_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_TILE_INL_H_
#undef RONDO_TILE_INL_H_
#else
#define RONDO_TILE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/panel.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using PanelTag = hn::CappedTag<float, kPanelWidth>;
using PanelVec = hn::Vec<PanelTag>;
inline constexpr int kPanelLanes = hn::MaxLanes(PanelTag());
inline constexpr int kPanelVecs = kPanelWidth / kPanelLanes;

// 12 accumulators hide the latency of two multiply-add pipes and leave registers for operands.
inline constexpr int kAccumulators = 12;
inline constexpr int kTileRows = kPanelVecs <= 2 ? 6 : 3;

constexpr int PanelsAtOnce(int rows) {
  return std::clamp(kAccumulators / (kPanelVecs * rows), 1, 4);
}

HWY_INLINE PanelVec LoadWeights(const float* w) { return hn::LoadU(PanelTag(), w); }

HWY_INLINE PanelVec LoadWeights(const BFloat16* w) {
  const hn::Rebind<uint16_t, PanelTag> d16;
  const hn::Rebind<uint32_t, PanelTag> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(w));
  return hn::BitCast(PanelTag(), hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

HWY_INLINE PanelVec LoadWeights(const Int8* w) {
  const hn::Rebind<int8_t, PanelTag> d8;
  const hn::Rebind<int32_t, PanelTag> d32;
  const auto values = hn::LoadU(d8, reinterpret_cast<const int8_t*>(w));
  return hn::ConvertTo(PanelTag(), hn::PromoteTo(d32, values));
}

// y[kRows, kPanels * 16] = x[kRows, k] · w, or += when `add`. A transposed x is x[k, kRows] in
// memory.
template <int kRows, int kPanels, bool kTransposed = false, typename W>
HWY_INLINE void Tile(const float* HWY_RESTRICT x, int64_t x_stride, const W* HWY_RESTRICT w,
                     int64_t panel_stride, int64_t k, float* HWY_RESTRICT y, int64_t y_stride,
                     bool add) {
  const PanelTag d;
  constexpr int kVecs = kPanels * kPanelVecs;
  PanelVec sums[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      sums[r][v] = add ? hn::LoadU(d, y + r * y_stride + v * kPanelLanes) : hn::Zero(d);
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    PanelVec weights[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      weights[v] = LoadWeights(w + v / kPanelVecs * panel_stride + i * kPanelWidth +
                               v % kPanelVecs * kPanelLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const PanelVec input = hn::Set(d, kTransposed ? x[i * x_stride + r] : x[r * x_stride + i]);
      for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::MulAdd(input, weights[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sums[r][v], d, y + r * y_stride + v * kPanelLanes);
  }
}

template <int kRows, typename W>
HWY_NOINLINE void TilesOfRows(int64_t panels, const float* x, int64_t x_stride, const W* w,
                              int64_t panel_stride, int64_t k, float* y, int64_t y_stride,
                              bool add) {
  constexpr int kAtOnce = PanelsAtOnce(kRows);
  int64_t p = 0;
  for (; p + kAtOnce <= panels; p += kAtOnce) {
    Tile<kRows, kAtOnce>(x, x_stride, w + p * panel_stride, panel_stride, k, y + p * kPanelWidth,
                         y_stride, add);
  }
  for (; p < panels; ++p) {
    Tile<kRows, 1>(x, x_stride, w + p * panel_stride, panel_stride, k, y + p * kPanelWidth,
                   y_stride, add);
  }
}

// y[rows, panels * 16] = x[rows, k] · w for 1 <= rows <= kTileRows and any number of whole panels.
template <typename W>
HWY_INLINE void Tiles(int64_t rows, int64_t panels, const float* x, int64_t x_stride, const W* w,
                      int64_t panel_stride, int64_t k, float* y, int64_t y_stride, bool add) {
  switch (rows) {
    case 1:
      return TilesOfRows<1>(panels, x, x_stride, w, panel_stride, k, y, y_stride, add);
    case 2:
      return TilesOfRows<2>(panels, x, x_stride, w, panel_stride, k, y, y_stride, add);
    case 3:
      return TilesOfRows<3>(panels, x, x_stride, w, panel_stride, k, y, y_stride, add);
    case 4:
      return TilesOfRows<4>(panels, x, x_stride, w, panel_stride, k, y, y_stride, add);
    case 5:
      return TilesOfRows<5>(panels, x, x_stride, w, panel_stride, k, y, y_stride, add);
    case 6:
      return TilesOfRows<6>(panels, x, x_stride, w, panel_stride, k, y, y_stride, add);
  }
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
