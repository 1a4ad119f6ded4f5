#include "quant/feedback.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "fold/moments.h"
#include "quant/block_search.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "tensor/quant_grid.h"

namespace rondo {
namespace {

constexpr int64_t kChunkRows = 64;  // rows of one task; fixed, so that products have one shape

MatrixF64 Reversed(const MatrixF64& m) {
  const int64_t n = m.rows();
  MatrixF64 out(n, n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) out(i, j) = m(n - 1 - i, n - 1 - j);
  }
  return out;
}

// The rows of a task, block after block.
class ChunkRounder {
 public:
  ChunkRounder(const MatrixF32& factor, DType dtype)
      : factor_(factor), dtype_(dtype), search_(dtype) {}

  // values [rows, in] in; blocks out. Values behind each block change as errors are spread.
  void Run(MatrixF32& values, uint8_t* out) {
    const int length = search_.length();
    const int64_t rows = values.rows(), cols = values.cols();
    const int64_t row_bytes = cols / length * Info(dtype_).block_bytes;
    MatrixF32 errors(length, rows);
    for (int64_t column = 0; column < cols; column += length) {
      search_.SetFactor(factor_, column);
      uint8_t* block = out + column / length * Info(dtype_).block_bytes;
      for (int64_t r = 0; r < rows; ++r) {
        RoundBlock(values.row(r) + column, block + r * row_bytes);
        for (int i = 0; i < length; ++i) {
          errors(i, r) = search_.best().errors[static_cast<size_t>(i)];
        }
      }
      Spread(errors, column, values);
    }
  }

 private:
  void RoundBlock(const float* x, uint8_t* out) {
    search_.Run(x, INFINITY);
    if (!std::isfinite(search_.best().loss)) {
      throw Error({.function = "RoundWithFeedback",
                   .problem = "error of a block is not finite",
                   .expected = "weights and moments within the range of f32"});
    }
    PackBlock(dtype_, search_.best().grid, search_.best().codes.data(), out);
  }

  // values[:, behind the block] −= errorsᵀ · factor[block, behind it].
  void Spread(const MatrixF32& errors, int64_t column, MatrixF32& values) const {
    const int64_t first = column + search_.length(), rest = values.cols() - first;
    if (rest == 0) return;
    MatrixF32 change(values.rows(), rest);
    CrossProduct({errors.data(), errors.rows(), errors.cols(), errors.cols()},
                 {factor_.row(column) + first, errors.rows(), rest, factor_.cols()}, change);
    for (int64_t r = 0; r < values.rows(); ++r) {
      float* row = values.row(r) + first;
      for (int64_t j = 0; j < rest; ++j) row[j] -= change(r, j);
    }
  }

  const MatrixF32& factor_;
  const DType dtype_;
  BlockSearch search_;
};

}  // namespace

MatrixF32 FeedbackFactor(const MatrixF64& moment) {
  // With the order of inputs reversed, moment = L Lᵀ; so moment = A Aᵀ for the reversed L, upper
  // triangular, and H⁻¹ = A⁻ᵀ A⁻¹.
  const int64_t n = moment.rows();
  const MatrixF64 lower = Cholesky(Reversed(moment));
  MatrixF64 inverse(n, n);
  for (int64_t i = 0; i < n; ++i) inverse(i, i) = 1;
  TriangularSolve(Op::kPlain, lower, inverse);
  return {n, n, Narrow(Reversed(inverse))};
}

Tensor RoundHead(const Tensor& head, MatrixF64 moment, bool tied, DType dtype, ThreadPool& pool) {
  constexpr double kTied = 0.05, kApart = 0.01;  // of the mean diagonal
  Damp(moment, tied ? kTied : kApart);
  return RoundWithFeedback(Widen(ToF32(head), head.rows(), head.cols()), FeedbackFactor(moment),
                           dtype, pool);
}

Tensor RoundWithFeedback(const MatrixF64& target, const MatrixF32& factor, DType dtype,
                         ThreadPool& pool) {
  const Shape shape = {target.rows(), target.cols()};
  if (factor.rows() != target.cols()) {
    throw Error({.function = "RoundWithFeedback",
                 .problem = "a factor of " + std::to_string(factor.rows()) + " inputs",
                 .expected = std::to_string(target.cols())});
  }
  std::vector<std::byte> bytes(StorageBytes(dtype, shape));
  const size_t row_bytes = bytes.size() / static_cast<size_t>(target.rows());
  pool.ParallelFor((target.rows() + kChunkRows - 1) / kChunkRows, [&](int64_t chunk) {
    const int64_t first = chunk * kChunkRows;
    MatrixF32 values(std::min(kChunkRows, target.rows() - first), target.cols());
    const double* source = target.row(first);
    std::transform(source, source + values.rows() * values.cols(), values.data(),
                   [](double v) { return static_cast<float>(v); });
    auto* out = reinterpret_cast<uint8_t*>(bytes.data() + static_cast<size_t>(first) * row_bytes);
    ChunkRounder(factor, dtype).Run(values, out);
  });
  return Tensor::FromBytes(dtype, shape, std::move(bytes));
}

}  // namespace rondo
