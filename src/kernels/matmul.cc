#include "kernels/matmul.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/matmul_task.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Costs are in bytes streamed from memory; a multiply-add of a row weighs as much as kMultiplyAdd.
constexpr double kMultiplyAdd = 0.25;
constexpr double kInlineCost = 32 * 1024;  // less than waking threads
constexpr int64_t kTasksPerThread = 4;     // even out interruptions
constexpr int64_t kTaskRows = 256;
constexpr int64_t kTaskPanels = 4;  // a multiple keeps f32 tiles whole

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How one product is cut into tasks: panel_tasks × row_tasks of them from first_task on.
struct Split {
  const Product* product;
  const InputBlock* blocks;
  int64_t first_task;
  int64_t task_panels;
  int64_t panel_tasks;
  int64_t task_rows;
};

double PanelCost(const Product& p) {
  const double multiply_adds = static_cast<double>(p.rows * p.w->in()) * kPanelWidth;
  return 1 + static_cast<double>(p.w->panel_bytes()) + kMultiplyAdd * multiply_adds;
}

void RunTask(const Split& split, int64_t task) {
  const Product& product = *split.product;
  const PackedMatrix& w = *product.w;
  const int64_t panel = task % split.panel_tasks * split.task_panels;
  const int64_t row = task / split.panel_tasks * split.task_rows;
  const int64_t first = product.first_row + row;
  const MatMulTask run = {
      .w = w.panels() + panel * w.panel_bytes(),
      .panel_bytes = w.panel_bytes(),
      .type = w.type(),
      .in = w.in(),
      .outputs = std::min(w.out() - panel * kPanelWidth, split.task_panels * kPanelWidth),
      .panels = std::min(split.task_panels, PanelCount(w.out()) - panel),
      .x = product.x->x() + first * w.in(),
      .blocks = split.blocks == nullptr ? nullptr : split.blocks + first,
      .block_stride = product.x->rows(),
      .rows = std::min(split.task_rows, product.rows - row),
      .y = product.y + row * product.y_stride + panel * kPanelWidth,
      .y_stride = product.y_stride,
      .add = product.accumulate};
  if (!IsQuantized(w.type())) return RunFloatTask(run);
  switch (QuantFormatOf(w.type()).bits) {
    case 2:
    case 3:
      return RunQ2Q3Task(run);
    case 4:
      return RunQ4Task(run);
    case 5:
      return RunQ5Task(run);
    default:
      return RunQ6Q8Task(run);
  }
}

}  // namespace

void MatMul(std::span<const Product> products, ThreadPool& pool) {
  thread_local std::vector<Split> splits;
  splits.clear();
  double cost = 0;
  for (const Product& p : products) {
    if (p.rows <= 0 || p.w->out() == 0) continue;
    cost += PanelCost(p) * static_cast<double>(PanelCount(p.w->out()));
    splits.push_back({.product = &p});
  }
  const bool small = cost < kInlineCost || pool.threads() == 1;
  const double task_cost = cost / static_cast<double>(kTasksPerThread * pool.threads());
  int64_t tasks = 0;
  for (Split& s : splits) {
    const Product& p = *s.product;
    if (IsQuantized(p.w->type())) s.blocks = p.x->Blocks(pool);
    const int64_t panels = PanelCount(p.w->out());
    const int64_t row_tasks = small ? 1 : CeilDiv(p.rows, kTaskRows);
    const double panel_cost = PanelCost(p) / static_cast<double>(row_tasks);
    const auto wanted = static_cast<int64_t>(std::min(task_cost / panel_cost, 1e9));
    s.task_panels =
        small ? panels : std::min(panels, CeilDiv(wanted + 1, kTaskPanels) * kTaskPanels);
    s.panel_tasks = CeilDiv(panels, s.task_panels);
    s.task_rows = row_tasks == 1 ? p.rows : kTaskRows;
    s.first_task = tasks;
    tasks += s.panel_tasks * row_tasks;
  }
  const std::span<const Split> all = splits;
  const auto task = [all](int64_t i) {
    size_t at = 0;
    while (at + 1 < all.size() && all[at + 1].first_task <= i) ++at;
    RunTask(all[at], i - all[at].first_task);
  };
  if (small) {
    for (int64_t i = 0; i < tasks; ++i) task(i);
  } else {
    pool.ParallelFor(tasks, std::cref(task));
  }
}

void MatMul(const PackedMatrix& w, const float* x, int64_t rows, float* y, bool accumulate,
            ThreadPool& pool) {
  thread_local MatMulInput input;
  input.Set(x, rows, w.in());
  const Product product = {
      .w = &w, .x = &input, .rows = rows, .y = y, .y_stride = w.out(), .accumulate = accumulate};
  MatMul({&product, 1}, pool);
}

}  // namespace rondo
