// Residuals of single matrices: fitting one to the difference that sharing leaves, and applying it.
#pragma once

#include <map>
#include <string>

#include "fold/linalg.h"
#include "rondo/model.h"
#include "rondo/sharing_plan.h"
#include "rondo/weights.h"

namespace rondo {

class ThreadPool;

// The tensors of one residual by part name (a, b, diag, scale, magnitude), f32, shaped as
// ExpectedTensors() says.
using ResidualParts = std::map<std::string, Tensor>;

// Parts with which `shared` [out, in] comes nearest to `target` [out, in] in the Frobenius norm.
// - lora: truncated SVD of target − shared: b = U_r Σ_r, a = V_rᵀ (Bae et al. 2025, section 2.2).
// - lora-diag: SVD and diagonal in turn, each the best for the other.
// - dora: SVD and row scales in turn; the magnitude is the best one for the direction found.
// - muldiag: least squares for each input column.
// - kronecker: SVD of the rearranged difference (Van Loan, Pitsianis 1993).
// At full rank all but muldiag reproduce target to f32 rounding. `rank` may be 0.
ResidualParts FitResidual(ResidualKind kind, const MatrixF64& target, const MatrixF64& shared,
                          int rank);

// The residual of the opposite difference: flips the sign of what is added. Only for lora,
// lora-diag and kronecker, whose fit is odd in target − shared. Parts that stay equal share
// storage.
ResidualParts NegateResidual(const ResidualParts& parts);

// weight := the matrix that `shared` (passed in `weight`) and the residual stand for.
void ApplyResidual(ResidualKind kind, const ResidualParts& parts, MatrixF32& weight);

// The parts of one depth's residual as stored in a model; empty when it has none.
ResidualParts FindResidual(const Weights& weights, const SharingPlan& plan, Module m, int depth);

// The f32 matrix that `shared` and the residual stand for; without a residual it may be `shared`.
Tensor MergeResidual(ResidualKind kind, const ResidualParts& parts, const Tensor& shared);

// What one depth computes with: its block merged with its residual and its gain, f32.
Tensor MergedWeight(const Weights& weights, const SharingPlan& plan, Module m, int depth);
// The same beside the block's matrix, which depths share.
Tensor MergedWeight(const Weights& weights, const SharingPlan& plan, Module m, int depth,
                    const Tensor& block);
// The bias that one depth adds, times its gain.
Tensor MergedBias(const Weights& weights, const SharingPlan& plan, Module m, int depth);

// As Unroll(), with what a plain model could not hold: linear patches, and feed-forwards as narrow
// as they are.
Model UnrollDepths(const Model& model, ThreadPool& pool);

}  // namespace rondo
