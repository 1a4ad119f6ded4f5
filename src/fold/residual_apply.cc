#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "fold/residual.h"

namespace rondo {
namespace {

MatrixF32 AsMatrix(const Tensor& tensor) { return {tensor.rows(), tensor.cols(), ToF32(tensor)}; }

void AddProduct(const ResidualParts& parts, MatrixF32& weight) {
  const auto a = parts.find("a");
  if (a == parts.end()) return;  // rank 0
  Gemm(Op::kPlain, Op::kPlain, 1.0f, AsMatrix(parts.at("b")), AsMatrix(a->second), 1.0f, weight);
}

void AddDiagonal(const Tensor& diag, MatrixF32& weight) {
  const std::vector<float> values = ToF32(diag);
  for (size_t i = 0; i < values.size(); ++i) {
    weight(static_cast<int64_t>(i), static_cast<int64_t>(i)) += values[i];
  }
}

void SetRowLengths(const Tensor& magnitude, MatrixF32& weight) {
  const std::vector<float> lengths = ToF32(magnitude);
  for (int64_t i = 0; i < weight.rows(); ++i) {
    double sum = 0;
    for (int64_t j = 0; j < weight.cols(); ++j) sum += double{weight(i, j)} * weight(i, j);
    if (sum == 0) continue;  // a row without direction stays zero
    const double scale = lengths[static_cast<size_t>(i)] / std::sqrt(sum);
    for (int64_t j = 0; j < weight.cols(); ++j) {
      weight(i, j) = static_cast<float>(weight(i, j) * scale);
    }
  }
}

void ScaleColumns(const Tensor& scale, MatrixF32& weight) {
  const std::vector<float> values = ToF32(scale);
  for (int64_t i = 0; i < weight.rows(); ++i) {
    for (int64_t j = 0; j < weight.cols(); ++j) weight(i, j) *= values[static_cast<size_t>(j)];
  }
}

void AddKronecker(const Tensor& a, const Tensor& b, MatrixF32& weight) {
  const int64_t rank = a.dim(0), in_a = a.dim(2), out_b = b.dim(1), in_b = b.dim(2);
  // [out_a·in_a, out_b·in_b] = Σ_r vec(A_r) vec(B_r)ᵀ, then back to the order of the weight.
  const MatrixF32 left(rank, a.elements() / rank, ToF32(a));
  const MatrixF32 right(rank, b.elements() / rank, ToF32(b));
  MatrixF32 rearranged(left.cols(), right.cols());
  Gemm(Op::kTranspose, Op::kPlain, 1.0f, left, right, 0.0f, rearranged);
  for (int64_t i = 0; i < weight.rows(); ++i) {
    for (int64_t j = 0; j < weight.cols(); ++j) {
      weight(i, j) += rearranged(i / out_b * in_a + j / in_b, i % out_b * in_b + j % in_b);
    }
  }
}

// Rows of a weight, or elements of a bias, times the depth's gain.
Tensor WithGain(const Weights& weights, const SharingPlan& plan, Module m, int depth,
                const Tensor& tensor) {
  if (plan[m].Gain(depth) == GainKind::kNone) return tensor;
  const std::vector<float> gain = ToF32(weights.Get(ResidualTensor(depth, m, "gain")));
  std::vector<float> values = ToF32(tensor);
  const size_t out = static_cast<size_t>(tensor.shape()[0]), in = values.size() / out;
  for (size_t i = 0; i < values.size(); ++i) values[i] *= gain[gain.size() == 1 ? 0 : i / in];
  return Tensor::FromF32(tensor.shape(), std::move(values));
}

}  // namespace

void ApplyResidual(ResidualKind kind, const ResidualParts& parts, MatrixF32& weight) {
  if (parts.empty()) return;
  switch (kind) {
    case ResidualKind::kNone:
      return;
    case ResidualKind::kLora:
      return AddProduct(parts, weight);
    case ResidualKind::kLoraDiag:
      AddProduct(parts, weight);
      return AddDiagonal(parts.at("diag"), weight);
    case ResidualKind::kDora:
      AddProduct(parts, weight);
      return SetRowLengths(parts.at("magnitude"), weight);
    case ResidualKind::kMulDiag:
      return ScaleColumns(parts.at("scale"), weight);
    case ResidualKind::kKronecker:
      return AddKronecker(parts.at("a"), parts.at("b"), weight);
  }
}

ResidualParts FindResidual(const Weights& weights, const SharingPlan& plan, Module m, int depth) {
  ResidualParts parts;
  if (!IsLinear(m) || !plan.HasResidual(m, depth)) return parts;
  for (const char* part : {"a", "b", "diag", "scale", "magnitude"}) {
    if (const Tensor* tensor = weights.Find(ResidualTensor(depth, m, part))) parts[part] = *tensor;
  }
  return parts;
}

Tensor MergeResidual(ResidualKind kind, const ResidualParts& parts, const Tensor& shared) {
  if (parts.empty()) return Cast(shared, DType::kF32);
  MatrixF32 weight = AsMatrix(shared);
  ApplyResidual(kind, parts, weight);
  return Tensor::FromF32(shared.shape(), std::move(weight).Release());
}

Tensor MergedWeight(const Weights& weights, const SharingPlan& plan, Module m, int depth,
                    const Tensor& block) {
  const Tensor merged =
      MergeResidual(plan[m].residual, FindResidual(weights, plan, m, depth), block);
  return WithGain(weights, plan, m, depth, merged);
}

Tensor MergedWeight(const Weights& weights, const SharingPlan& plan, Module m, int depth) {
  const int block = plan[m].blocks[static_cast<size_t>(depth)];
  return MergedWeight(weights, plan, m, depth, BlockMatrix(weights, plan, m, block));
}

Tensor MergedBias(const Weights& weights, const SharingPlan& plan, Module m, int depth) {
  const int block = plan[m].blocks[static_cast<size_t>(depth)];
  const Tensor& bias = weights.Get(plan[m].own_bias ? ResidualTensor(depth, m, "bias")
                                                    : BlockTensor(block, m, "bias"));
  return plan[m].Gain(depth) == GainKind::kNone
             ? bias
             : WithGain(weights, plan, m, depth, Cast(bias, DType::kF32));
}

}  // namespace rondo
