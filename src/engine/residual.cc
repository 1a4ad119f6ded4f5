#include "engine/residual.h"

#include <algorithm>
#include <cmath>

#include "engine/packed_type.h"
#include "engine/rows.h"

namespace rondo {
namespace {

// magnitude / ‖row of S' + BA‖. Sums in double: the norm is taken over thousands of elements once.
std::vector<float> DoraScales(const Tensor& shared, const Tensor* a, const Tensor* b,
                              const Tensor& magnitude) {
  const int64_t out = shared.rows(), in = shared.cols();
  std::vector<float> scales = ToF32(magnitude);
  const std::vector<float> a_values = a != nullptr ? ToF32(*a) : std::vector<float>();
  std::vector<float> row(static_cast<size_t>(in));
  std::vector<float> b_row(b != nullptr ? static_cast<size_t>(b->cols()) : 0);
  for (int64_t o = 0; o < out; ++o) {
    RowToF32(shared, o, row.data());
    if (b != nullptr) RowToF32(*b, o, b_row.data());
    for (size_t r = 0; r < b_row.size(); ++r) {
      const float* a_row = a_values.data() + r * static_cast<size_t>(in);
      for (size_t i = 0; i < row.size(); ++i) row[i] += b_row[r] * a_row[i];
    }
    double squares = 0;
    for (const float value : row) squares += double{value} * value;
    if (squares > 0) scales[static_cast<size_t>(o)] /= static_cast<float>(std::sqrt(squares));
  }
  return scales;
}

}  // namespace

Residual::Residual(const Weights& weights, Module module, int depth, ResidualKind kind, int rank,
                   const Tensor& shared, std::optional<DType> type, PanelMemory& memory)
    : kind_(kind), out_(shared.rows()), in_(shared.cols()), rank_(rank) {
  const auto part = [&](std::string_view name) -> const Tensor& {
    return weights.Get(ResidualTensor(depth, module, name));
  };
  const auto pack = [&](std::string_view name) {
    return PackedMatrix(part(name), PackedType(part(name), type), &memory);
  };
  switch (kind) {
    case ResidualKind::kNone:
      break;
    case ResidualKind::kLora:
    case ResidualKind::kLoraDiag:
    case ResidualKind::kDora:
      if (rank > 0) {
        low_rank_ = true;
        a_ = pack("a");
        b_ = pack("b");
      }
      if (kind == ResidualKind::kLoraDiag) values_ = ToF32(part("diag"));
      if (kind == ResidualKind::kDora) {
        values_ = DoraScales(shared, rank > 0 ? &part("a") : nullptr,
                             rank > 0 ? &part("b") : nullptr, part("magnitude"));
      }
      break;
    case ResidualKind::kMulDiag:
      values_ = ToF32(part("scale"));
      break;
    case ResidualKind::kKronecker: {
      const auto factor = KroneckerFactor(out_, in_);
      out_a_ = factor[0];
      in_a_ = factor[1];
      values_ = ToF32(part("a"));
      b_ = pack("b");  // its leading dimensions count as rows
      break;
    }
  }
}

void Residual::ScaleInput(const float* x, int64_t rows, float* scaled, ThreadPool& pool) const {
  ForRows(pool, rows, in_, [&](int64_t r) {
    for (int64_t i = 0; i < in_; ++i) {
      scaled[r * in_ + i] = x[r * in_ + i] * values_[static_cast<size_t>(i)];
    }
  });
}

void Residual::Finish(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
                      ThreadPool& pool) const {
  const auto count = static_cast<int64_t>(values_.size());
  switch (kind_) {
    case ResidualKind::kNone:
    case ResidualKind::kLora:
    case ResidualKind::kMulDiag:
      return;
    case ResidualKind::kLoraDiag:
      return ForRows(pool, rows, count, [&](int64_t r) {
        for (int64_t i = 0; i < count; ++i) {
          y[r * out_ + i] += values_[static_cast<size_t>(i)] * x[r * in_ + i];
        }
      });
    case ResidualKind::kDora:
      return ForRows(pool, rows, count, [&](int64_t r) {
        for (int64_t i = 0; i < count; ++i) y[r * out_ + i] *= values_[static_cast<size_t>(i)];
      });
    case ResidualKind::kKronecker:
      return ApplyKronecker(x, rows, y, scratch, pool);
  }
}

// With x as a matrix X [in_a, in_b], (A ⊗ B) x is A · (X · Bᵀ): one product with all B_r, whose
// rows A then mixes.
void Residual::ApplyKronecker(const float* x, int64_t rows, float* y, ScratchBuffer& scratch,
                              ThreadPool& pool) const {
  const int64_t out_b = out_ / out_a_;
  const int64_t width = rank_ * out_b;
  float* product = scratch.Get(rows * in_a_ * width);
  MatMul(b_, x, rows * in_a_, product, /*accumulate=*/false, pool);
  ForRows(pool, rows, rank_ * out_a_ * in_a_ * out_b, [&](int64_t row) {
    for (int64_t r = 0; r < rank_; ++r) {
      for (int64_t o = 0; o < out_a_; ++o) {
        float* target = y + row * out_ + o * out_b;
        for (int64_t i = 0; i < in_a_; ++i) {
          const float weight = values_[static_cast<size_t>((r * out_a_ + o) * in_a_ + i)];
          const float* source = product + (row * in_a_ + i) * width + r * out_b;
          for (int64_t j = 0; j < out_b; ++j) target[j] += weight * source[j];
        }
      }
    }
  });
}

uint64_t Residual::bytes() const {
  return a_.bytes() + b_.bytes() + values_.size() * sizeof(float);
}

}  // namespace rondo
