// Work that is independent for every row of a step.
#pragma once

#include <cstdint>

#include "rondo/thread_pool.h"

namespace rondo {

// Calls row(r) for every r in [0, rows), on several threads when rows · width elements are worth
// it.
template <typename F>
void ForRows(ThreadPool& pool, int64_t rows, int64_t width, const F& row) {
  constexpr int64_t kInlineElements = 16 * 1024;
  if (rows * width < kInlineElements) {
    for (int64_t r = 0; r < rows; ++r) row(r);
    return;
  }
  pool.ParallelRanges(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) row(r);
  });
}

}  // namespace rondo
