#include "quant/residual_fit.h"

#include <cmath>
#include <utility>
#include <vector>

namespace rondo {
namespace {

// b's columns get length 1 and a's rows what they had.
void MoveLengthsToA(ResidualParts& parts) {
  const Shape shape_a = parts.at("a").shape(), shape_b = parts.at("b").shape();
  const int64_t rank = shape_a[0], in = shape_a[1], out = shape_b[0];
  std::vector<float> a = ToF32(parts.at("a")), b = ToF32(parts.at("b"));
  for (int64_t r = 0; r < rank; ++r) {
    double squares = 0;
    for (int64_t i = 0; i < out; ++i) {
      const double value = b[static_cast<size_t>(i * rank + r)];
      squares += value * value;
    }
    const double length = std::sqrt(squares);
    if (!(length > 0)) continue;
    for (int64_t i = 0; i < out; ++i) {
      float& value = b[static_cast<size_t>(i * rank + r)];
      value = static_cast<float>(value / length);
    }
    for (int64_t j = 0; j < in; ++j) {
      float& value = a[static_cast<size_t>(r * in + j)];
      value = static_cast<float>(value * length);
    }
  }
  parts["a"] = Tensor::FromF32(shape_a, std::move(a));
  parts["b"] = Tensor::FromF32(shape_b, std::move(b));
}

// Σ_i w_i (E C Eᵀ)_ii for the error E of shared matrix and residual.
double Cost(ResidualKind kind, const TiedTarget& target, const MatrixF64& shared,
            const ResidualParts& parts, std::span<const double> row_weights) {
  MatrixF32 merged(shared.rows(), shared.cols(), Narrow(shared));
  ApplyResidual(kind, parts, merged);
  MatrixF64 error = target.weight;
  for (int64_t e = 0; e < error.rows() * error.cols(); ++e) {
    error.data()[e] -= double{merged.data()[e]};
  }
  const MatrixF64 mapped = Multiply(error, target.moment);
  double cost = 0;
  for (int64_t i = 0; i < error.rows(); ++i) {
    double row = 0;
    for (int64_t j = 0; j < error.cols(); ++j) row += mapped(i, j) * error(i, j);
    cost += row_weights.empty() ? row : row * row_weights[static_cast<size_t>(i)];
  }
  return cost;
}

}  // namespace

ResidualParts EncodeResidual(ResidualKind kind, ResidualParts parts, const PartType& type) {
  const bool factors =
      kind == ResidualKind::kLora || kind == ResidualKind::kLoraDiag || kind == ResidualKind::kDora;
  if (factors && parts.contains("a")) MoveLengthsToA(parts);
  for (auto& [part, tensor] : parts) tensor = Cast(tensor, type(part));
  return parts;
}

ResidualParts RefitResidual(ResidualKind kind, const TiedTarget& target, const MatrixF64& shared,
                            std::span<const double> row_weights, const ResidualParts& old,
                            const PartType& type) {
  ResidualParts kept = EncodeResidual(kind, old, type);
  ResidualParts fitted =
      kind == ResidualKind::kKronecker
          ? FitResidual(kind, target.weight, shared, target.rank)  // no metric has a closed form
          : FitToMoment(kind, target, shared, row_weights);
  fitted = EncodeResidual(kind, std::move(fitted), type);
  const bool better = Cost(kind, target, shared, fitted, row_weights) <
                      Cost(kind, target, shared, kept, row_weights);
  return better ? fitted : kept;
}

}  // namespace rondo
