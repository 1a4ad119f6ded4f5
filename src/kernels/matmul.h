// y = x · Wᵀ for packed weights, the one kernel all linears and the head go through.
//
// Every output element is the same sum in the same order whatever the number of rows and threads,
// so a row's result never depends on its batch. Weights are f32 or bf16, sums f32.
#pragma once

#include <cstdint>

#include "kernels/aligned_buffer.h"
#include "rondo/tensor.h"

namespace rondo {

class ThreadPool;

// A weight matrix [out, in] in the order the kernel reads it: panels of 16 outputs,
// [out/16][in][16], the last one filled up with zeros.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Decodes any tensor type; `type` is kF32 or kBF16.
  PackedMatrix(const Tensor& weight, DType type);
  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  DType type() const { return type_; }
  const AlignedBuffer& panels() const { return panels_; }
  uint64_t bytes() const { return panels_.bytes(); }

 private:
  int64_t out_ = 0;
  int64_t in_ = 0;
  DType type_ = DType::kF32;
  AlignedBuffer panels_;
};

// y[rows, out] = x[rows, in] · Wᵀ, or y += … when accumulate. x and y are dense f32 and do not
// overlap.
void MatMul(const PackedMatrix& w, const float* x, int64_t rows, float* y, bool accumulate,
            ThreadPool& pool);

}  // namespace rondo
