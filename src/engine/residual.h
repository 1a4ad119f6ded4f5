// What one depth adds to a shared linear: the factors of R[depth, module], ready to run.
//
// Applied segmented: the shared product runs once for the rows of all depths, each depth's factors
// on its own rows. Formulas: ResidualKind in sharing_plan.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/workspace.h"
#include "kernels/matmul.h"
#include "rondo/sharing_plan.h"
#include "rondo/weights.h"

namespace rondo {

class PanelMemory;
class ThreadPool;

class Residual {
 public:
  // Factors of `module` at `depth`. `shared` is the block's weight [out, in], which DoRA's row
  // norms need. `type` as in EngineOptions. Factors lie in `memory`.
  Residual(const Weights& weights, Module module, int depth, ResidualKind kind, int rank,
           const Tensor& shared, std::optional<DType> type, PanelMemory& memory);

  // The low-rank factors [rank, in] and [out, rank] of y += b · a · x; null: none.
  const PackedMatrix* a() const { return low_rank_ ? &a_ : nullptr; }
  const PackedMatrix* b() const { return low_rank_ ? &b_ : nullptr; }
  int64_t rank() const { return rank_; }
  // Whether the shared product reads a scaled x, and that x.
  bool scales_input() const { return kind_ == ResidualKind::kMulDiag; }
  void ScaleInput(const float* x, int64_t rows, float* scaled, ThreadPool& pool) const;
  // Completes y [rows, out], the sum of the shared product and the low-rank ones.
  void Finish(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
              ThreadPool& pool) const;
  uint64_t bytes() const;

 private:
  void ApplyKronecker(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
                      ThreadPool& pool) const;

  ResidualKind kind_;
  int64_t out_;
  int64_t in_;
  int64_t rank_;
  bool low_rank_ = false;
  PackedMatrix a_;  // LoRA: [rank, in]
  PackedMatrix b_;  // LoRA: [out, rank]; Kronecker: all B_r as [rank * out_b, in_b]
  // diag of lora-diag, scale of muldiag, DoRA's magnitude / row norm, Kronecker's A [rank, out_a,
  // in_a]
  std::vector<float> values_;
  int64_t out_a_ = 1;
  int64_t in_a_ = 1;
};

}  // namespace rondo
