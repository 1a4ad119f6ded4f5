// Products of f32 and bf16 panels with f32 rows.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/matmul_task.h"
#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul_float.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// 256 · 16 f32 of a panel are half of a 32 KiB L1; 96 rows of 256 stay in L2 beside them.
constexpr int64_t kDepthBlock = 256;
constexpr int64_t kRowBlock = 96;
static_assert(kRowBlock % kTileRows == 0);

// Tiles whose last panel may reach beyond the matrix: that one goes through a buffer.
template <typename W>
void TilesClipped(int64_t rows, int64_t panels, int64_t outputs, const float* x, int64_t x_stride,
                  const W* w, int64_t panel_stride, int64_t k, float* y, int64_t y_stride,
                  bool add) {
  const int64_t whole = outputs / kPanelWidth;
  Tiles(rows, std::min(panels, whole), x, x_stride, w, panel_stride, k, y, y_stride, add);
  if (panels <= whole) return;
  HWY_ALIGN float last[kTileRows * kPanelWidth] = {};
  float* target = y + whole * kPanelWidth;
  const int64_t count = outputs - whole * kPanelWidth;
  for (int64_t r = 0; add && r < rows; ++r) {
    std::copy_n(target + r * y_stride, count, last + r * kPanelWidth);
  }
  Tiles(rows, 1, x, x_stride, w + whole * panel_stride, panel_stride, k, last, kPanelWidth, add);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(last + r * kPanelWidth, count, target + r * y_stride);
  }
}

// A run of panels in f32: in place when the weights are f32, decoded once for all rows otherwise.
struct PanelRun {
  const float* data;
  int64_t stride;
};

PanelRun AsF32(const float* w, int64_t stride, int64_t, int64_t, float*) { return {w, stride}; }

PanelRun AsF32(const BFloat16* w, int64_t stride, int64_t panels, int64_t k, float* buffer) {
  for (int64_t p = 0; p < panels; ++p) {
    for (int64_t i = 0; i < k * kPanelWidth; i += kPanelLanes) {
      hn::Store(LoadWeights(w + p * stride + i), PanelTag(), buffer + p * k * kPanelWidth + i);
    }
  }
  return {buffer, k * kPanelWidth};
}

// Many rows: blocks over rows, k and panels so that operands stay in the caches near the core.
// Between blocks of k the sums rest in y, which changes no bit of them.
template <typename W>
void ManyRows(const MatMulTask& t, const W* w) {
  constexpr int64_t kPanels = PanelsAtOnce(kTileRows);
  HWY_ALIGN float buffer[kPanels * kDepthBlock * kPanelWidth];
  for (int64_t r0 = 0; r0 < t.rows; r0 += kRowBlock) {
    const int64_t r1 = std::min(t.rows, r0 + kRowBlock);
    for (int64_t k0 = 0; k0 < t.in; k0 += kDepthBlock) {
      const int64_t k = std::min(kDepthBlock, t.in - k0);
      for (int64_t p = 0; p < t.panels; p += kPanels) {
        const int64_t panels = std::min(kPanels, t.panels - p);
        const PanelRun run = AsF32(w + p * t.in * kPanelWidth + k0 * kPanelWidth,
                                   t.in * kPanelWidth, panels, k, buffer);
        for (int64_t r = r0; r < r1; r += kTileRows) {
          TilesClipped(std::min<int64_t>(kTileRows, r1 - r), panels, t.outputs - p * kPanelWidth,
                       t.x + r * t.in + k0, t.in, run.data, run.stride, k,
                       t.y + r * t.y_stride + p * kPanelWidth, t.y_stride, t.add || k0 > 0);
        }
      }
    }
  }
}

template <typename W>
void RunTyped(const MatMulTask& t, const W* w) {
  constexpr int64_t kFewRows = 2 * kTileRows;
  if (t.rows > kFewRows) return ManyRows(t, w);
  for (int64_t r = 0; r < t.rows; r += kTileRows) {
    TilesClipped(std::min<int64_t>(kTileRows, t.rows - r), t.panels, t.outputs, t.x + r * t.in,
                 t.in, w, t.in * kPanelWidth, t.in, t.y + r * t.y_stride, t.y_stride, t.add);
  }
}

void RunFloat(const MatMulTask& t) {
  if (t.type == DType::kBF16) return RunTyped(t, reinterpret_cast<const BFloat16*>(t.w));
  RunTyped(t, reinterpret_cast<const float*>(t.w));
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RunFloat);

void RunFloatTask(const MatMulTask& task) { HWY_DYNAMIC_DISPATCH(RunFloat)(task); }

}  // namespace rondo
#endif  // HWY_ONCE
