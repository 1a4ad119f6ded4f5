// Causal depthwise convolution over rows in time: every channel has a kernel of its own, and an
// output row sees its own input row and those before it.
//
//   DepthwiseConv(kernel, history, x, 0, rows, y);
//   KeepHistory(kernel, x, rows, history);           // for the rows that follow
#pragma once

#include <cstdint>

namespace rondo {

struct DepthwiseKernel {
  const float* weight;  // [size, width], the oldest row first
  const float* bias;    // [width]
  int64_t size;
  int64_t width;
};

// Rows [first, end) of y[rows, width]. `history` [size − 1, width] stands before x[rows, width]. A
// row's result does not depend on how the rows are cut into calls. Allocates nothing.
void DepthwiseConv(const DepthwiseKernel& kernel, const float* history, const float* x,
                   int64_t first, int64_t end, float* y);

// history := the last size − 1 rows of history and x[rows, width].
void KeepHistory(const DepthwiseKernel& kernel, const float* x, int64_t rows, float* history);

}  // namespace rondo
