#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/block_search.h"
#include "quant/feedback.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr int64_t kChunkRows = 64;  // rows of one task; fixed, so that products have one shape
constexpr int kLength = 32;

// What all rows need of one block of the moment: its factor, and its inverse.
struct BlockMetric {
  MatrixF32 factor, inverse;
};

std::vector<BlockMetric> MetricsOf(const MatrixF64& moment) {
  std::vector<BlockMetric> metrics;
  for (int64_t first = 0; first < moment.rows(); first += kLength) {
    MatrixF64 block(kLength, kLength);
    for (int64_t i = 0; i < kLength; ++i) {
      for (int64_t j = 0; j < kLength; ++j) block(i, j) = moment(first + i, first + j);
    }
    const MatrixF32 factor = FeedbackFactor(block);
    const MatrixF64 wide = Widen(factor.values(), kLength, kLength);
    MatrixF64 inverse = Multiply(Op::kTranspose, wide, Op::kPlain, wide);
    metrics.push_back({factor, {kLength, kLength, Narrow(inverse)}});
  }
  return metrics;
}

// The rows of a task.
class ChunkRefiner {
 public:
  ChunkRefiner(const MatrixF32& moment, const std::vector<BlockMetric>& metrics, DType dtype)
      : moment_(moment), metrics_(metrics), dtype_(dtype), search_(dtype) {}

  // errors [rows, in] are what target − decoded blocks is.
  void Run(const MatrixF32& errors, int passes, uint8_t* blocks) {
    slopes_ = MatrixF32(errors.rows(), errors.cols());
    Gemm(Op::kPlain, Op::kPlain, 1.0f, errors, moment_, 0.0f, slopes_);
    const auto bytes = Info(dtype_).block_bytes;
    const int64_t row_bytes = errors.cols() / kLength * bytes;
    bool changed = true;
    for (int pass = 0; pass < passes && changed; ++pass) {
      changed = false;
      for (size_t b = 0; b < metrics_.size(); ++b) {
        const bool moved = RunBlocks(b, blocks + static_cast<int64_t>(b) * bytes, row_bytes);
        changed = changed || moved;
      }
    }
  }

 private:
  // Block b of every row.
  bool RunBlocks(size_t b, uint8_t* block, int64_t row_bytes) {
    const int64_t rows = slopes_.rows(), cols = slopes_.cols();
    const int64_t first = static_cast<int64_t>(b) * kLength;
    search_.SetFactor(metrics_[b].factor, 0);
    MatrixF32 moves(kLength, rows);
    bool moved = false;
    for (int64_t r = 0; r < rows; ++r) {
      moved =
          RunBlock(metrics_[b], slopes_.row(r) + first, block + r * row_bytes, r, moves) || moved;
    }
    if (!moved) return false;
    MatrixF32 change(rows, cols);
    CrossProduct({moves.data(), kLength, rows, rows}, {moment_.row(first), kLength, cols, cols},
                 change);
    for (int64_t i = 0; i < rows * cols; ++i) slopes_.data()[i] -= change.data()[i];
    return true;
  }

  // The error falls by most where the block moves by `slope` · inverse; a move short of that by e
  // costs e · moment · e.
  bool RunBlock(const BlockMetric& metric, const float* slope, uint8_t* block, int64_t row,
                MatrixF32& moves) {
    int16_t codes[kMaxBlockLength];
    const BlockGrid grid = ReadBlock(dtype_, block, codes);
    float goal[kLength];
    float cost = 0;
    for (int i = 0; i < kLength; ++i) {
      float move = 0;
      for (int j = 0; j < kLength; ++j) move += metric.inverse(i, j) * slope[j];
      goal[i] = grid.Value(i, codes[i]) + move;
      cost += move * slope[i];
    }
    constexpr float kLess = 0.9999f;  // not for what rounding of the sums makes of equal ones
    if (!search_.Run(goal, kLess * cost)) return false;
    const RoundedBlock& best = search_.best();
    for (int i = 0; i < kLength; ++i) {
      moves(i, row) =
          best.grid.Value(i, best.codes[static_cast<size_t>(i)]) - grid.Value(i, codes[i]);
    }
    PackBlock(dtype_, best.grid, best.codes.data(), block);
    return true;
  }

  const MatrixF32& moment_;
  const std::vector<BlockMetric>& metrics_;
  const DType dtype_;
  BlockSearch search_;
  MatrixF32 slopes_;  // errors · moment
};

}  // namespace

Tensor RefineRounding(const MatrixF64& target, const MatrixF64& moment, Tensor rounded, int passes,
                      ThreadPool& pool) {
  if (Info(rounded.dtype()).block_length != kLength || passes == 0) return rounded;
  const std::vector<BlockMetric> metrics = MetricsOf(moment);
  const MatrixF32 narrow(moment.rows(), moment.cols(), Narrow(moment));
  std::vector<std::byte> bytes(rounded.bytes().begin(), rounded.bytes().end());
  const size_t row_bytes = bytes.size() / static_cast<size_t>(target.rows());
  pool.ParallelFor((target.rows() + kChunkRows - 1) / kChunkRows, [&](int64_t chunk) {
    const int64_t first = chunk * kChunkRows;
    MatrixF32 errors(std::min(kChunkRows, target.rows() - first), target.cols());
    for (int64_t r = 0; r < errors.rows(); ++r) {
      RowToF32(rounded, first + r, errors.row(r));
      for (int64_t i = 0; i < errors.cols(); ++i) {
        errors(r, i) = static_cast<float>(target(first + r, i) - double{errors(r, i)});
      }
    }
    auto* out = reinterpret_cast<uint8_t*>(bytes.data() + static_cast<size_t>(first) * row_bytes);
    ChunkRefiner(narrow, metrics, rounded.dtype()).Run(errors, passes, out);
  });
  return Tensor::FromBytes(rounded.dtype(), rounded.shape(), std::move(bytes));
}

}  // namespace rondo
