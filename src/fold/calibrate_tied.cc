#include "fold/calibrate_tied.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "fold/moments.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Alternating fits stop after so many sweeps, or when one lowers the loss by less than this share.
constexpr int kMaxSweeps = 4;
constexpr double kEnough = 2e-3;
// A row weight below this share of the mean counts as this share, so that every row stays defined.
constexpr double kSmallestWeight = 1e-4;

// Σ_ij a_ij b_ij.
double Inner(const MatrixF64& a, const MatrixF64& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.rows() * a.cols(); ++i) sum += a.data()[i] * b.data()[i];
  return sum;
}

double Cost(const MatrixF64& error, const MatrixF64& moment) {
  return Inner(Multiply(error, moment), error);
}

void ScaleRows(MatrixF64& m, std::span<const double> scales) {
  for (int64_t i = 0; i < m.rows(); ++i) {
    for (int64_t j = 0; j < m.cols(); ++j) m(i, j) *= scales[static_cast<size_t>(i)];
  }
}

// A residual in f64: low-rank factors, a diagonal, or scales of the inputs.
struct Fitted {
  LowRank low;
  std::vector<double> diag, scale, magnitude;

  void AddAdditive(MatrixF64& m, double sign) const {
    if (low.a.rows() > 0) Gemm(Op::kPlain, Op::kPlain, sign, low.b, low.a, 1, m);
    for (size_t i = 0; i < diag.size(); ++i) {
      m(static_cast<int64_t>(i), static_cast<int64_t>(i)) += sign * diag[i];
    }
  }
};

// Rows of length 1, as truncated SVD gives them: the lengths move into the columns of b.
void Balance(LowRank& low) {
  for (int64_t r = 0; r < low.a.rows(); ++r) {
    double length = 0;
    for (int64_t j = 0; j < low.a.cols(); ++j) length += low.a(r, j) * low.a(r, j);
    length = std::sqrt(length);
    if (length == 0) continue;
    for (int64_t j = 0; j < low.a.cols(); ++j) low.a(r, j) /= length;
    for (int64_t i = 0; i < low.b.rows(); ++i) low.b(i, r) *= length;
  }
}

// Minimises ‖(difference − b·a) L‖ for the Cholesky factor L of the metric.
LowRank FitLowRank(const MatrixF64& difference, const MatrixF64& factor, int rank) {
  if (rank == 0) return {};
  // Nothing to choose: the plain factors are exact and, being orthogonal, survive rounding to f32.
  if (rank == std::min(difference.rows(), difference.cols())) return TruncatedSvd(difference, rank);
  LowRank low = TruncatedSvd(Multiply(difference, factor), rank);
  MatrixF64 a = Transpose(low.a);
  TriangularSolve(Op::kTranspose, factor, a);
  low.a = Transpose(a);
  Balance(low);
  return low;
}

// Best diagonal for `rest` in the metric: row i alone holds entry (i, i).
void AddDiagonal(const MatrixF64& rest, const MatrixF64& metric, std::vector<double>& diag) {
  for (size_t d = 0; d < diag.size(); ++d) {
    const auto i = static_cast<int64_t>(d);
    double overlap = 0;
    for (int64_t j = 0; j < rest.cols(); ++j) overlap += rest(i, j) * metric(j, i);
    diag[d] += overlap / metric(i, i);
  }
}

// lora and lora-diag: the residual nearest to `difference` in the metric. Starting from the `diag`
// of an earlier fit, the result is never worse than that fit.
Fitted FitAdditive(ResidualKind kind, const MatrixF64& difference, const MatrixF64& metric,
                   int rank, std::vector<double> diag) {
  const MatrixF64 factor = Cholesky(metric);
  Fitted fit;
  if (kind == ResidualKind::kLoraDiag) {
    diag.resize(static_cast<size_t>(std::min(difference.rows(), difference.cols())));
    fit.diag = std::move(diag);
  }
  const int rounds = fit.diag.empty() || rank == 0 ? 1 : kMaxSweeps;
  for (int round = 0; round < rounds; ++round) {
    fit.low = {};
    MatrixF64 rest = difference;
    fit.AddAdditive(rest, -1);
    fit.low = FitLowRank(rest, factor, rank);
    if (fit.diag.empty()) break;
    rest = difference;
    fit.AddAdditive(rest, -1);
    AddDiagonal(rest, metric, fit.diag);
  }
  return fit;
}

// Minimises ‖(shared · diag(d) − target) C^½‖: the normal equations are (SᵀS ∘ C) d = diag(SᵀTC).
std::vector<double> FitScale(const MatrixF64& target, const MatrixF64& shared,
                             const MatrixF64& moment) {
  MatrixF64 normal = Multiply(Op::kTranspose, shared, Op::kPlain, shared);
  for (int64_t i = 0; i < normal.rows() * normal.cols(); ++i) normal.data()[i] *= moment.data()[i];
  Damp(normal, 1e-9);
  const MatrixF64 mapped = Multiply(target, moment);
  MatrixF64 scale(shared.cols(), 1);
  for (int64_t i = 0; i < shared.rows(); ++i) {
    for (int64_t j = 0; j < shared.cols(); ++j) scale(j, 0) += shared(i, j) * mapped(i, j);
  }
  CholeskySolve(Cholesky(std::move(normal)), scale);
  return {scale.values().begin(), scale.values().end()};
}

// Row lengths of the best c ⊙ (shared + b·a); c stays positive.
std::vector<double> FitMagnitude(const MatrixF64& target, MatrixF64 direction,
                                 const MatrixF64& moment) {
  constexpr double kSmallestScale = 1e-3;
  const MatrixF64 mapped = Multiply(direction, moment);
  std::vector<double> magnitude;
  for (int64_t i = 0; i < direction.rows(); ++i) {
    double overlap = 0, length = 0, squares = 0;
    for (int64_t j = 0; j < direction.cols(); ++j) {
      overlap += target(i, j) * mapped(i, j);
      length += direction(i, j) * mapped(i, j);
      squares += direction(i, j) * direction(i, j);
    }
    const double scale = length > 0 ? std::max(overlap / length, kSmallestScale) : 1;
    magnitude.push_back(scale * std::sqrt(squares));
  }
  return magnitude;
}

Fitted FitOne(ResidualKind kind, const TiedTarget& target, const MatrixF64& shared) {
  if (kind == ResidualKind::kMulDiag) {
    Fitted fit;
    fit.scale = FitScale(target.weight, shared, target.moment);
    return fit;
  }
  Fitted fit = FitAdditive(kind, Minus(target.weight, shared), target.moment, target.rank, {});
  if (kind == ResidualKind::kDora) {
    MatrixF64 direction = shared;
    fit.AddAdditive(direction, 1);
    fit.magnitude = FitMagnitude(target.weight, std::move(direction), target.moment);
  }
  return fit;
}

// The alternating fit of one block, in rows already scaled by the square roots of their weights.
class TiedFitter {
 public:
  TiedFitter(ResidualKind kind, const std::vector<TiedTarget>& targets)
      : kind_(kind), targets_(targets), fits_(targets.size()) {
    const MatrixF64& first = targets[0].weight;
    for (const TiedTarget& target : targets) {
      if (kind == ResidualKind::kMulDiag) {
        fits_[mapped_.size()].scale.assign(static_cast<size_t>(first.cols()), 1.0);
      }
      mapped_.push_back(Multiply(target.weight, target.moment));
    }
    shared_ = Mean();
    losses_.push_back(Loss());
  }

  void Run() {
    const int sweeps = kind_ == ResidualKind::kNone ? 0 : kMaxSweeps;
    for (int sweep = 0; sweep < sweeps; ++sweep) {
      if (kind_ == ResidualKind::kMulDiag) {
        SweepScales();
      } else {
        SweepAdditive();
      }
      shared_ = Mean();
      losses_.push_back(Loss());
      const double before = losses_[losses_.size() - 2];
      if (IsOptimal() || before - losses_.back() <= kEnough * before) break;
    }
    if (kind_ != ResidualKind::kNone && kind_ != ResidualKind::kMulDiag && !IsOptimal()) Polish();
    if (kind_ == ResidualKind::kDora) FitMagnitudes();
  }

  MatrixF64& shared() { return shared_; }
  std::vector<Fitted>& fits() { return fits_; }
  std::vector<double>& losses() { return losses_; }

 private:
  // Two depths see the same metric, so the first takes the leading and the second the next singular
  // directions of their difference: nothing is left to improve.
  bool IsOptimal() const {
    return kind_ != ResidualKind::kLoraDiag && kind_ != ResidualKind::kMulDiag &&
           targets_.size() == 2 && targets_[0].residual && targets_[1].residual;
  }

  // Sum of moments and of (W − R) C over all depths but `without`.
  std::pair<MatrixF64, MatrixF64> Others(size_t without) const {
    const int64_t in = targets_[0].moment.rows();
    std::pair<MatrixF64, MatrixF64> sums{MatrixF64(in, in),
                                         MatrixF64(targets_[0].weight.rows(), in)};
    for (size_t d = 0; d < targets_.size(); ++d) {
      if (d == without) continue;
      const std::vector<double>& scale = fits_[d].scale;
      MatrixF64 moment = targets_[d].moment, mapped = mapped_[d];
      for (int64_t i = 0; i < in && !scale.empty(); ++i) {
        for (int64_t j = 0; j < in; ++j) {
          moment(i, j) *= scale[static_cast<size_t>(i)] * scale[static_cast<size_t>(j)];
        }
      }
      for (int64_t i = 0; i < mapped.rows() && !scale.empty(); ++i) {
        for (int64_t j = 0; j < in; ++j) mapped(i, j) *= scale[static_cast<size_t>(j)];
      }
      AddTo(sums.first, moment);
      AddTo(sums.second, mapped);
    }
    return sums;
  }

  MatrixF64 Mean() const {
    auto [moment, mapped] = Others(targets_.size());
    if (kind_ == ResidualKind::kMulDiag) Damp(moment, 1e-9);
    return SolveRight(mapped, Cholesky(std::move(moment)));
  }

  // C_d (C_d + C_o)⁻¹ C_o, symmetric up to rounding.
  static MatrixF64 ParallelSum(const MatrixF64& c, const MatrixF64& others) {
    MatrixF64 sum = c;
    AddTo(sum, others);
    MatrixF64 solved = others;
    CholeskySolve(Cholesky(std::move(sum)), solved);
    MatrixF64 parallel = Multiply(c, solved);
    for (int64_t i = 0; i < parallel.rows(); ++i) {
      for (int64_t j = 0; j < i; ++j) {
        parallel(i, j) = parallel(j, i) = (parallel(i, j) + parallel(j, i)) / 2;
      }
    }
    Damp(parallel, 1e-9);
    return parallel;
  }

  // The metric and the one matrix that stand for all other depths. Of a pair both see the same
  // metric, and the other's own matrix.
  std::pair<MatrixF64, MatrixF64> SeenFrom(size_t depth) {
    if (targets_.size() == 2) {
      const TiedTarget& other = targets_[1 - depth];
      if (pair_metric_.rows() == 0) {
        pair_metric_ = ParallelSum(targets_[0].moment, targets_[1].moment);
      }
      MatrixF64 rest = other.weight;
      fits_[1 - depth].AddAdditive(rest, -1);
      return {pair_metric_, std::move(rest)};
    }
    auto [moment, mapped] = Others(depth);
    MatrixF64 metric = ParallelSum(targets_[depth].moment, moment);
    return {std::move(metric), SolveRight(mapped, Cholesky(std::move(moment)))};
  }

  void SweepAdditive() {
    for (size_t d = 0; d < targets_.size(); ++d) {
      const TiedTarget& target = targets_[d];
      if (!target.residual) continue;
      if (targets_.size() == 1) {
        // Alone on its block: the shared matrix is the target and nothing is left over.
        fits_[d] = FitOne(kind_, target, target.weight);
        continue;
      }
      const auto [metric, mean] = SeenFrom(d);
      fits_[d] = FitAdditive(kind_, Minus(target.weight, mean), metric, target.rank,
                             std::move(fits_[d].diag));
      MatrixF64 rest = target.weight;
      fits_[d].AddAdditive(rest, -1);
      mapped_[d] = Multiply(rest, target.moment);
    }
  }

  // Every residual once more for the final shared matrix: at full rank this makes the fit exact.
  void Polish() {
    for (size_t d = 0; d < targets_.size(); ++d) {
      const TiedTarget& target = targets_[d];
      if (!target.residual) continue;
      fits_[d] = FitAdditive(kind_, Minus(target.weight, shared_), target.moment, target.rank,
                             std::move(fits_[d].diag));
    }
    losses_.push_back(Loss());
  }

  void SweepScales() {
    for (size_t d = 0; d < targets_.size(); ++d) {
      if (!targets_[d].residual) continue;
      fits_[d].scale = FitScale(targets_[d].weight, shared_, targets_[d].moment);
    }
  }

  void FitMagnitudes() {
    for (size_t d = 0; d < targets_.size(); ++d) {
      if (!targets_[d].residual) continue;
      MatrixF64 direction = shared_;
      fits_[d].AddAdditive(direction, 1);
      fits_[d].magnitude =
          FitMagnitude(targets_[d].weight, std::move(direction), targets_[d].moment);
    }
  }

  double Loss() const {
    double loss = 0;
    for (size_t d = 0; d < targets_.size(); ++d) {
      MatrixF64 merged = shared_;
      fits_[d].AddAdditive(merged, 1);
      const std::vector<double>& scale = fits_[d].scale;
      for (int64_t i = 0; i < merged.rows() && !scale.empty(); ++i) {
        for (int64_t j = 0; j < merged.cols(); ++j) merged(i, j) *= scale[static_cast<size_t>(j)];
      }
      loss += Cost(Minus(std::move(merged), targets_[d].weight), targets_[d].moment);
    }
    return loss;
  }

  ResidualKind kind_;
  const std::vector<TiedTarget>& targets_;
  std::vector<Fitted> fits_;
  std::vector<MatrixF64> mapped_;  // (W − R) C of every depth
  MatrixF64 pair_metric_;
  MatrixF64 shared_;
  std::vector<double> losses_;
};

Tensor Vector(const std::vector<double>& v) {
  return Tensor::FromF32({static_cast<int64_t>(v.size())}, std::vector<float>(v.begin(), v.end()));
}

Tensor Stored(const MatrixF64& m) { return Tensor::FromF32({m.rows(), m.cols()}, Narrow(m)); }

// Undoes the scaling of rows and stores in f32.
ResidualParts ToParts(Fitted fit, std::span<const double> row_scales) {
  ScaleRows(fit.low.b, row_scales);
  for (size_t i = 0; i < fit.diag.size(); ++i) fit.diag[i] *= row_scales[i];
  for (size_t i = 0; i < fit.magnitude.size(); ++i) fit.magnitude[i] *= row_scales[i];
  ResidualParts parts;
  if (fit.low.a.rows() > 0) parts = {{"a", Stored(fit.low.a)}, {"b", Stored(fit.low.b)}};
  if (!fit.diag.empty()) parts["diag"] = Vector(fit.diag);
  if (!fit.scale.empty()) parts["scale"] = Vector(fit.scale);
  if (!fit.magnitude.empty()) parts["magnitude"] = Vector(fit.magnitude);
  return parts;
}

// Square roots of the weights, floored, and their inverses.
struct RowScales {
  std::vector<double> up, down;
};

RowScales ScalesOf(std::span<const double> weights, int64_t rows) {
  if (!weights.empty() && static_cast<int64_t>(weights.size()) != rows) {
    throw Error({.function = "FitTied",
                 .problem = std::to_string(weights.size()) + " row weights",
                 .expected = "one for each of " + std::to_string(rows) + " rows"});
  }
  double mean = 0;
  for (const double w : weights) mean += w / static_cast<double>(weights.size());
  RowScales scales;
  for (int64_t i = 0; i < rows; ++i) {
    const double share = mean > 0 ? weights[static_cast<size_t>(i)] / mean : 1;
    scales.up.push_back(std::sqrt(std::max(share, kSmallestWeight)));
    scales.down.push_back(1 / scales.up.back());
  }
  return scales;
}

}  // namespace

void CheckCalibrated(ResidualKind kind) {
  if (kind != ResidualKind::kKronecker) return;
  throw Error({.function = "FitTied",
               .problem = "kronecker residuals cannot be calibrated",
               .expected = "none, lora, lora-diag, dora or muldiag"});
}

TiedFit FitTied(ResidualKind kind, std::vector<TiedTarget> targets,
                std::span<const double> row_weights) {
  CheckCalibrated(kind);
  if (targets.empty()) throw Error({.function = "FitTied", .problem = "no depths"});
  const RowScales scales = ScalesOf(row_weights, targets[0].weight.rows());
  for (TiedTarget& target : targets) ScaleRows(target.weight, scales.up);
  TiedFitter fitter(kind, targets);
  fitter.Run();
  TiedFit fit{std::move(fitter.shared()), {}, std::move(fitter.losses())};
  ScaleRows(fit.shared, scales.down);
  for (size_t d = 0; d < targets.size(); ++d) {
    const bool has = kind != ResidualKind::kNone && targets[d].residual;
    fit.residuals.push_back(has ? ToParts(std::move(fitter.fits()[d]), scales.down)
                                : ResidualParts{});
  }
  return fit;
}

Tensor MergedMatrix(ResidualKind kind, const TiedFit& fit, size_t d) {
  return MergeResidual(kind, fit.residuals[d], Stored(fit.shared));
}

ResidualParts FitToMoment(ResidualKind kind, TiedTarget target, MatrixF64 shared,
                          std::span<const double> row_weights) {
  CheckCalibrated(kind);
  if (kind == ResidualKind::kNone || !target.residual) return {};
  const RowScales scales = ScalesOf(row_weights, target.weight.rows());
  ScaleRows(target.weight, scales.up);
  ScaleRows(shared, scales.up);
  return ToParts(FitOne(kind, target, shared), scales.down);
}

}  // namespace rondo
