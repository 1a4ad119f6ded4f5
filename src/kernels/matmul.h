// y = x · Wᵀ for packed weights, the one kernel all linears and the head go through.
//
//   PackedMatrix gate(tensor, tensor.dtype());
//   MatMulInput x;
//   x.Set(rows_f32, rows, width);
//   const Product products[] = {
//       {.w = &gate, .x = &x, .rows = rows, .y = y, .y_stride = gate.out()}, …};
//   MatMul(products, pool);       // one hand-over to the threads for all of them
//
// Every output element is the same sequence of operations whatever the number of rows, products and
// threads, so a row's result never depends on its batch. With quantised weights it is the same on
// every instruction set too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/matmul_input.h"
#include "rondo/tensor.h"

namespace rondo {

class PanelMemory;
class ThreadPool;

// A weight matrix [out, in] in the order the kernels read it: panels of 16 outputs, the last one
// filled up with zeros. f32 and bf16 are [out/16][in][16]; quantised types as in quant_panel.h,
// with the file's own codes and scales.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Packs into memory of its own, or taken from `memory`. `type` as for Supports(). A tensor of
  // that type is repacked without loss, any other is decoded and rounded. Where `in` is no multiple
  // of the type's block, bf16 is taken: see type(). Throws for other types, and for quantised ones
  // that only files can have (no encoder).
  PackedMatrix(const Tensor& weight, DType type, PanelMemory* memory = nullptr);

  // f32, bf16 and every quantised type.
  static bool Supports(DType type);

  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  DType type() const { return type_; }
  uint64_t bytes() const { return bytes_; }

  // Whether the values of a tensor of type `stored` are in here as they were.
  bool Holds(DType stored) const;
  // One row's values in out[in()]; where Holds(), bit for bit those of the tensor.
  void RowToF32(int64_t row, float* out) const;
  const std::byte* panels() const { return panels_.get(); }
  int64_t panel_bytes() const { return panel_bytes_; }

 private:
  int64_t out_ = 0;
  int64_t in_ = 0;
  DType type_ = DType::kF32;
  int64_t panel_bytes_ = 0;
  uint64_t bytes_ = 0;
  std::shared_ptr<const std::byte> panels_;
};

// y[rows, out] = x[first_row + rows, in] · Wᵀ, or y += … when accumulate. Rows of y are y_stride
// floats apart. Neither x nor another product's y overlaps it.
struct Product {
  const PackedMatrix* w = nullptr;
  const MatMulInput* x = nullptr;
  int64_t first_row = 0;
  int64_t rows = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  bool accumulate = false;
};

// All products as one job, shared out evenly. No order among them. Allocates only to quantise more
// than an input ever held.
void MatMul(std::span<const Product> products, ThreadPool& pool);

// One product with dense x [rows, in] and y [rows, out].
void MatMul(const PackedMatrix& w, const float* x, int64_t rows, float* y, bool accumulate,
            ThreadPool& pool);

}  // namespace rondo
