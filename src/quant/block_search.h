// The grid and codes of one block with the least error in a metric.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "fold/linalg.h"
#include "rondo/tensor.h"
#include "tensor/quant_grid.h"

namespace rondo {

// A block rounded on one grid.
struct RoundedBlock {
  BlockGrid grid;
  std::array<int16_t, kMaxBlockLength> codes;
  std::array<float, kMaxBlockLength> errors;  // of each column, over the factor's diagonal
  float loss = INFINITY;                      // Σ errors²
};

class BlockSearch {
 public:
  explicit BlockSearch(DType dtype)
      : dtype_(dtype), length_(static_cast<int>(Info(dtype).block_length)) {}

  int length() const { return length_; }
  // The metric: the block of `factor`, an upper triangular matrix as FeedbackFactor() gives, that
  // begins at row and column `first`. Kept by reference.
  void SetFactor(const MatrixF32& factor, int64_t first);
  // Rounds x [length], the error of each column spread over those behind it, on every candidate
  // grid. False if none gets below `limit`.
  bool Run(const float* x, float limit);
  const RoundedBlock& best() const { return best_; }

 private:
  void Try(const BlockGrid& grid, const float* x);

  const DType dtype_;
  const int length_;
  const MatrixF32* factor_ = nullptr;
  int64_t first_ = 0;
  std::array<float, kMaxBlockLength> importance_{};
  RoundedBlock best_, trial_;
};

}  // namespace rondo
