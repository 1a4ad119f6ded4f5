#include "kernels/matmul.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/simd_targets.h"

#ifndef RONDO_MATMUL_TASK
#define RONDO_MATMUL_TASK
namespace rondo {

// A run of panels times a run of rows.
struct MatMulTask {
  const void* w;  // first panel
  DType type;
  int64_t in;
  int64_t outputs;  // of the run; the last panel may be partial
  int64_t panels;
  const float* x;  // [rows, in]
  int64_t rows;
  float* y;  // [rows, outputs], rows y_stride apart
  int64_t y_stride;
  bool add;
};

}  // namespace rondo
#endif  // RONDO_MATMUL_TASK

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul.cc"
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

void RunTask(const MatMulTask& t) {
  if (t.type == DType::kBF16) return RunTyped(t, static_cast<const BFloat16*>(t.w));
  RunTyped(t, static_cast<const float*>(t.w));
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "base/thread_pool.h"

namespace rondo {
HWY_EXPORT(RunTask);

namespace {

constexpr int64_t kInlineWork = 32 * 1024;  // multiply-adds below which waking threads costs more
constexpr int64_t kTaskRows = 192;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void MatMul(const PackedMatrix& w, const float* x, int64_t rows, float* y, bool accumulate,
            ThreadPool& pool) {
  if (rows <= 0 || w.out() == 0) return;
  const int64_t panels = PanelCount(w.out());
  const bool small = rows * w.in() * w.out() < kInlineWork || pool.threads() == 1;
  // Four tasks a thread even out interruptions; a multiple of four panels keeps tiles whole.
  const int64_t task_panels = small ? panels : CeilDiv(CeilDiv(panels, 4 * pool.threads()), 4) * 4;
  const int64_t panel_tasks = CeilDiv(panels, task_panels);
  const int64_t row_tasks = small ? 1 : CeilDiv(rows, kTaskRows);
  const uint64_t element = w.type() == DType::kBF16 ? sizeof(BFloat16) : sizeof(float);
  pool.ParallelFor(panel_tasks * row_tasks, [&](int64_t task) {
    const int64_t p = task % panel_tasks * task_panels;
    const int64_t r = row_tasks == 1 ? 0 : task / panel_tasks * kTaskRows;
    const int64_t count = row_tasks == 1 ? rows : std::min(kTaskRows, rows - r);
    HWY_DYNAMIC_DISPATCH(RunTask)
    ({.w = w.panels().as<std::byte>() + static_cast<uint64_t>(p * w.in() * kPanelWidth) * element,
      .type = w.type(),
      .in = w.in(),
      .outputs = std::min(w.out() - p * kPanelWidth, task_panels * kPanelWidth),
      .panels = std::min(task_panels, panels - p),
      .x = x + r * w.in(),
      .rows = count,
      .y = y + r * w.out() + p * kPanelWidth,
      .y_stride = w.out(),
      .add = accumulate});
  });
}

}  // namespace rondo
#endif  // HWY_ONCE
