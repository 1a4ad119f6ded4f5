// Shared matrices and residuals fitted in activation metrics: the closed-form core of calibrated
// folding. An error matrix E at a depth with input moment C costs Σ_i g_i (E C Eᵀ)_ii, the mean
// squared error of the outputs, output i weighted by g_i.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fold/linalg.h"
#include "fold/residual.h"

namespace rondo {

// What one depth wants of its matrix.
struct TiedTarget {
  MatrixF64 weight;  // [out, in] the matrix to come near to
  MatrixF64 moment;  // [in, in] positive definite moment of the depth's inputs
  bool residual = true;
  int rank = 0;
};

struct TiedFit {
  MatrixF64 shared;                      // [out, in]
  std::vector<ResidualParts> residuals;  // [depths]; empty where a depth has none
  std::vector<double> losses;  // Σ over depths: without residuals, then after every sweep
};

// Throws for kronecker residuals, which have no closed form in an activation metric.
void CheckCalibrated(ResidualKind kind);

// The shared matrix and residuals of the depths tied to one block with least summed cost. lora and
// lora-diag: block coordinate descent over the depths' residuals with the shared matrix eliminated:
// seen from depth d the others cost like one matrix S̄ (their mean in their metrics) in the parallel
// sum C_d (C_d + C_o)⁻¹ C_o of the metrics, C_o = Σ of the others', and the best low-rank residual
// of W_d − S̄ in that metric is a truncated SVD. muldiag: scales and shared matrix in turn, each by
// least squares. dora: as lora, then the best row scales. The losses never grow. `row_weights`
// [out] may be empty: all equal.
TiedFit FitTied(ResidualKind kind, std::vector<TiedTarget> targets,
                std::span<const double> row_weights);

// The matrix that a fit gives depth `d` of its group.
Tensor MergedMatrix(ResidualKind kind, const TiedFit& fit, size_t d);

// The residual of one depth for a given shared matrix.
ResidualParts FitToMoment(ResidualKind kind, TiedTarget target, MatrixF64 shared,
                          std::span<const double> row_weights);

}  // namespace rondo
