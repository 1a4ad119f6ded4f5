// Rows that several products read, and their 8-bit form.
//
//   MatMulInput x;                       // keep it: its memory is reused
//   x.Set(rows_f32, rows, width);        // no copy
//   MatMul({{.w = &q, .x = &x, …}, {.w = &k, .x = &x, …}}, pool);
//
// Quantised weights read each row as blocks of 32 signed 8-bit codes with one f32 scale,
// x ≈ scale · code, scale = max|x| / 127, made when first needed. A block depends on its own 32
// values only. One thread at a time.
#pragma once

#include <cstdint>

#include "kernels/aligned_buffer.h"
#include "kernels/quant_panel.h"

namespace rondo {

class ThreadPool;

class MatMulInput {
 public:
  MatMulInput() = default;
  MatMulInput(MatMulInput&&) = default;
  MatMulInput& operator=(MatMulInput&&) = default;

  // x [rows, width], dense; it must stay unchanged while products read it.
  void Set(const float* x, int64_t rows, int64_t width);

  const float* x() const { return x_; }
  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  // [width / 32][rows]; width is a multiple of 32. Allocates only when larger than ever before.
  const InputBlock* Blocks(ThreadPool& pool) const;

 private:
  const float* x_ = nullptr;
  int64_t rows_ = 0;
  int64_t width_ = 0;
  mutable bool quantised_ = false;
  mutable AlignedBuffer blocks_;
};

}  // namespace rondo
