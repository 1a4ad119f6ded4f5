// Second moments of activations: the metrics in which calibrated fits measure their errors.
#pragma once

#include <cstdint>

#include "fold/linalg.h"

namespace rondo {

class ThreadPool;

// A batch of activations, dense rows.
struct Rows {
  const float* data;
  int64_t count;
  int64_t width;
};

// Mean over rows of aᵀ b, [a.width, b.width]. f32 products over short runs of rows, summed in f64;
// the same bytes whatever the number of threads.
MatrixF64 CrossMoment(const Rows& a, const Rows& b, ThreadPool& pool);

// Adds `share` of the mean diagonal to the diagonal (a little even where all is zero), so that the
// moment is positive definite.
void Damp(MatrixF64& moment, double share);

// Adds to every diagonal element a share of itself: ridge in units of each input's own energy.
void DampEach(MatrixF64& moment, double share);

}  // namespace rondo
