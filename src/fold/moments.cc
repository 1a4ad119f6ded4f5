#include "fold/moments.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/thread_pool.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int64_t kRowRun = 1024;  // rows summed in f32: rounding stays near 1e-6 of the moment
constexpr int64_t kStripe = 192;   // rows of the result one task computes

// sum[first .. first+count) of rows of Σ aᵀ b / rows.
void AddStripe(const Rows& a, const Rows& b, int64_t first, int64_t count, MatrixF64& sum) {
  MatrixF32 part(count, b.width);
  for (int64_t row = 0; row < a.count; row += kRowRun) {
    const int64_t rows = std::min(kRowRun, a.count - row);
    CrossProduct({a.data + row * a.width + first, rows, count, a.width},
                 {b.data + row * b.width, rows, b.width, b.width}, part);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < b.width; ++j) sum(first + i, j) += double{part(i, j)};
    }
  }
  const double scale = 1.0 / static_cast<double>(a.count);
  for (int64_t i = first; i < first + count; ++i) {
    for (int64_t j = 0; j < b.width; ++j) sum(i, j) *= scale;
  }
}

}  // namespace

MatrixF64 CrossMoment(const Rows& a, const Rows& b, ThreadPool& pool) {
  if (a.count != b.count || a.count <= 0) {
    throw Error({.function = "CrossMoment",
                 .problem = std::to_string(a.count) + " and " + std::to_string(b.count) + " rows",
                 .expected = "equally many, at least one"});
  }
  MatrixF64 sum(a.width, b.width);
  pool.ParallelFor((a.width + kStripe - 1) / kStripe, [&](int64_t stripe) {
    const int64_t first = stripe * kStripe;
    AddStripe(a, b, first, std::min(kStripe, a.width - first), sum);
  });
  return sum;
}

void Damp(MatrixF64& moment, double share) {
  double trace = 0;
  for (int64_t i = 0; i < moment.rows(); ++i) trace += moment(i, i);
  const double mean = trace / static_cast<double>(std::max<int64_t>(moment.rows(), 1));
  const double ridge = std::max(share * mean, std::numeric_limits<float>::min() * 1.0);
  for (int64_t i = 0; i < moment.rows(); ++i) moment(i, i) += ridge;
}

}  // namespace rondo
