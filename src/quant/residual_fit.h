// Residuals beside a rounded shared matrix.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "fold/calibrate_tied.h"
#include "fold/residual.h"
#include "rondo/sharing_plan.h"

namespace rondo {

// The type of a residual's part, or of the vectors f32.
using PartType = std::function<DType(const std::string& part)>;

// The parts in the types in which they will be stored. Factors a, b are rescaled first, rank by
// rank: lengths go into the rows of a, where each has blocks of its own, so that a block of b spans
// equal magnitudes.
ResidualParts EncodeResidual(ResidualKind kind, ResidualParts parts, const PartType& type);

// The better of `old` and a new fit for `shared` [out, in], both as stored, by the error of the
// merged matrix against target.weight in target.moment, output i weighted by row_weights (empty:
// alike).
ResidualParts RefitResidual(ResidualKind kind, const TiedTarget& target, const MatrixF64& shared,
                            std::span<const double> row_weights, const ResidualParts& old,
                            const PartType& type);

}  // namespace rondo
