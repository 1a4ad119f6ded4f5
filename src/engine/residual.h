// What one depth adds to a shared linear: the factors of R[depth, module], ready to run.
//
// Applied segmented: the shared product runs once for all rows, then these factors on the rows of
// their depth. Formulas: ResidualKind in sharing_plan.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/workspace.h"
#include "kernels/matmul.h"
#include "rondo/sharing_plan.h"
#include "rondo/weights.h"

namespace rondo {

class ThreadPool;

class Residual {
 public:
  // Factors of `module` at `depth`. `shared` is the block's weight [out, in], which DoRA's row
  // norms need. `type` is that of the packed factors.
  Residual(const Weights& weights, Module module, int depth, ResidualKind kind, int rank,
           const Tensor& shared, DType type);

  // The x that the shared product reads: x itself, or a scaled copy in `scratch`.
  const float* Input(const float* x, int64_t rows, ScratchBuffer& scratch, ThreadPool& pool) const;
  // Completes y [rows, out], the shared product of Input(x), in place.
  void Apply(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
             ThreadPool& pool) const;
  uint64_t bytes() const;

 private:
  void ApplyLora(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
                 ThreadPool& pool) const;
  void ApplyKronecker(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
                      ThreadPool& pool) const;

  ResidualKind kind_;
  int64_t out_;
  int64_t in_;
  int64_t rank_;
  PackedMatrix a_;  // LoRA: [rank, in]
  PackedMatrix b_;  // LoRA: [out, rank]; Kronecker: all B_r as [rank * out_b, in_b]
  // diag of lora-diag, scale of muldiag, DoRA's magnitude / row norm, Kronecker's A [rank, out_a,
  // in_a]
  std::vector<float> values_;
  int64_t out_a_ = 1;
  int64_t in_a_ = 1;
};

}  // namespace rondo
