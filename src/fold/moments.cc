#include "fold/moments.h"

#include <algorithm>
#include <limits>
#include <string>

#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr int64_t kRowRun = 1024;  // rows summed in f32: rounding stays near 1e-6 of the moment
constexpr int64_t kStripe = 192;   // rows of the result one task computes

// Rows first .. first+count of the mean of aᵀ b, from column `from` on.
void MeanStripe(const Rows& a, const Rows& b, int64_t first, int64_t count, int64_t from,
                MatrixF64& mean) {
  const int64_t cols = b.width - from;
  MatrixF32 part(count, cols);
  for (int64_t row = 0; row < a.count; row += kRowRun) {
    const int64_t rows = std::min(kRowRun, a.count - row);
    CrossProduct({a.data + row * a.width + first, rows, count, a.width},
                 {b.data + row * b.width + from, rows, cols, b.width}, part);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < cols; ++j) mean(first + i, from + j) += double{part(i, j)};
    }
  }
  const double scale = 1.0 / static_cast<double>(a.count);
  for (int64_t i = first; i < first + count; ++i) {
    for (int64_t j = from; j < b.width; ++j) mean(i, j) *= scale;
  }
}

}  // namespace

MatrixF64 CrossMoment(const Rows& a, const Rows& b, ThreadPool& pool) {
  if (a.count != b.count || a.count <= 0) {
    throw Error({.function = "CrossMoment",
                 .problem = std::to_string(a.count) + " and " + std::to_string(b.count) + " rows",
                 .expected = "equally many, at least one"});
  }
  const bool symmetric = a.data == b.data && a.width == b.width;
  MatrixF64 mean(a.width, b.width);
  pool.ParallelFor((a.width + kStripe - 1) / kStripe, [&](int64_t stripe) {
    const int64_t first = stripe * kStripe;
    MeanStripe(a, b, first, std::min(kStripe, a.width - first), symmetric ? first : 0, mean);
  });
  for (int64_t i = 0; symmetric && i < mean.rows(); ++i) {
    for (int64_t j = 0; j < i; ++j) mean(i, j) = mean(j, i);
  }
  return mean;
}

void Damp(MatrixF64& moment, double share) {
  double trace = 0;
  for (int64_t i = 0; i < moment.rows(); ++i) trace += moment(i, i);
  const double mean = trace / static_cast<double>(std::max<int64_t>(moment.rows(), 1));
  const double ridge = std::max(share * mean, std::numeric_limits<float>::min() * 1.0);
  for (int64_t i = 0; i < moment.rows(); ++i) moment(i, i) += ridge;
}

void DampEach(MatrixF64& moment, double share) {
  for (int64_t i = 0; i < moment.rows(); ++i) moment(i, i) *= 1 + share;
}

}  // namespace rondo
