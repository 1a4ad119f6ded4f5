#include "quant/feedback.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

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

// One block rounded on one grid.
struct Rounded {
  std::array<int16_t, kMaxBlockLength> codes;
  std::array<float, kMaxBlockLength> errors;  // of each column, over the factor's diagonal
  float loss = INFINITY;
};

// The rows of a task, block after block.
class ChunkRounder {
 public:
  ChunkRounder(const MatrixF32& factor, DType dtype)
      : factor_(factor), dtype_(dtype), length_(static_cast<int>(Info(dtype).block_length)) {}

  // values [rows, in] in; blocks out. Values behind each block change as errors are spread.
  void Run(MatrixF32& values, uint8_t* out) {
    const int64_t rows = values.rows(), cols = values.cols();
    const int64_t row_bytes = cols / length_ * Info(dtype_).block_bytes;
    MatrixF32 errors(length_, rows);
    for (int64_t column = 0; column < cols; column += length_) {
      SetImportance(column);
      uint8_t* block = out + column / length_ * Info(dtype_).block_bytes;
      for (int64_t r = 0; r < rows; ++r) {
        RoundBlock(values.row(r) + column, column, block + r * row_bytes);
        for (int i = 0; i < length_; ++i) errors(i, r) = best_.errors[static_cast<size_t>(i)];
      }
      Spread(errors, column, values);
    }
  }

 private:
  void SetImportance(int64_t column) {
    for (int i = 0; i < length_; ++i) {
      const float diagonal = factor_(column + i, column + i);
      importance_[static_cast<size_t>(i)] = 1 / (diagonal * diagonal);
    }
  }

  void RoundBlock(const float* x, int64_t column, uint8_t* out) {
    best_.loss = INFINITY;
    BlockGrid best_grid;
    for (const BlockGrid& grid : CandidateGrids(dtype_, x, importance_.data())) {
      Try(grid, x, column);
      if (trial_.loss < best_.loss) {
        std::swap(best_, trial_);
        best_grid = grid;
      }
    }
    if (!std::isfinite(best_.loss)) {
      throw Error({.function = "RoundWithFeedback",
                   .problem = "error of a block is not finite",
                   .expected = "weights and moments within the range of f32"});
    }
    PackBlock(dtype_, best_grid, best_.codes.data(), out);
  }

  // Rounds the block with feedback inside it; gives up once it is worse than the best so far.
  void Try(const BlockGrid& grid, const float* x, int64_t column) {
    std::array<float, kMaxBlockLength> rest;
    std::copy(x, x + length_, rest.begin());
    float loss = 0;
    for (int i = 0; i < length_ && loss < best_.loss; ++i) {
      const auto at = static_cast<size_t>(i);
      const float* row = factor_.row(column + i) + column;
      const int code = grid.Nearest(i, rest[at]);
      const float error = (rest[at] - grid.Value(i, code)) / row[i];
      trial_.codes[at] = static_cast<int16_t>(code);
      trial_.errors[at] = error;
      loss += error * error;
      for (int j = i + 1; j < length_; ++j) rest[static_cast<size_t>(j)] -= error * row[j];
    }
    trial_.loss = loss;
  }

  // values[:, behind the block] −= errorsᵀ · factor[block, behind it].
  void Spread(const MatrixF32& errors, int64_t column, MatrixF32& values) const {
    const int64_t first = column + length_, rest = values.cols() - first;
    if (rest == 0) return;
    MatrixF32 change(values.rows(), rest);
    CrossProduct({errors.data(), errors.rows(), errors.cols(), errors.cols()},
                 {factor_.row(column) + first, length_, rest, factor_.cols()}, change);
    for (int64_t r = 0; r < values.rows(); ++r) {
      float* row = values.row(r) + first;
      for (int64_t j = 0; j < rest; ++j) row[j] -= change(r, j);
    }
  }

  const MatrixF32& factor_;
  const DType dtype_;
  const int length_;
  std::array<float, kMaxBlockLength> importance_{};
  Rounded best_, trial_;
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
