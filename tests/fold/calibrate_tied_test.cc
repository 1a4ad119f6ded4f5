#include "fold/calibrate_tied.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "fold/moments.h"
#include "fold/random_model.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int64_t kOut = 14, kIn = 20;

MatrixF64 Identity(int64_t n) {
  MatrixF64 m(n, n);
  for (int64_t i = 0; i < n; ++i) m(i, i) = 1;
  return m;
}

// Moment of inputs whose directions differ much in size, as activations do.
MatrixF64 SkewedMoment(Rng& rng, int64_t n) {
  MatrixF64 x = RandomMatrix(rng, 3 * n, n);
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t j = 0; j < n; ++j) x(i, j) *= std::pow(0.7, static_cast<double>(j));
  }
  MatrixF64 moment(n, n);
  AddGram(1.0 / static_cast<double>(x.rows()), x, moment);
  Damp(moment, 1e-3);
  return moment;
}

MatrixF64 Merge(ResidualKind kind, const TiedFit& fit, size_t depth) {
  MatrixF32 merged(fit.shared.rows(), fit.shared.cols(), Narrow(fit.shared));
  ApplyResidual(kind, fit.residuals[depth], merged);
  return Widen(merged.values(), merged.rows(), merged.cols());
}

double Cost(const MatrixF64& a, const MatrixF64& b, const MatrixF64& moment) {
  MatrixF64 e = a;
  for (int64_t i = 0; i < e.rows() * e.cols(); ++i) e.data()[i] -= b.data()[i];
  const MatrixF64 mapped = Multiply(e, moment);
  double sum = 0;
  for (int64_t i = 0; i < e.rows() * e.cols(); ++i) sum += e.data()[i] * mapped.data()[i];
  return sum;
}

std::vector<TiedTarget> RandomTargets(Rng& rng, int depths, int rank) {
  std::vector<TiedTarget> targets;
  for (int d = 0; d < depths; ++d) {
    targets.push_back({.weight = RandomMatrix(rng, kOut, kIn),
                       .moment = SkewedMoment(rng, kIn),
                       .residual = true,
                       .rank = rank});
  }
  return targets;
}

// f32 storage of factors and merged matrix: a few dozen roundings of entries of size ~5.
constexpr double kStored = 1e-5;

TEST(FitTied, LossesNeverGrowAndDescribeWhatIsStored) {
  for (const ResidualKind kind : {ResidualKind::kNone, ResidualKind::kLora, ResidualKind::kLoraDiag,
                                  ResidualKind::kMulDiag}) {
    for (const int depths : {2, 3, 5}) {
      Rng rng(11);
      const std::vector<TiedTarget> targets = RandomTargets(rng, depths, 3);
      const TiedFit fit = FitTied(kind, targets, {});
      for (size_t i = 1; i < fit.losses.size(); ++i) {
        EXPECT_LE(fit.losses[i], fit.losses[i - 1] * (1 + 1e-9)) << Name(kind) << " " << depths;
      }
      if (kind != ResidualKind::kNone) {
        EXPECT_LT(fit.losses.back(), 0.99 * fit.losses.front());
      }
      double stored = 0;
      for (size_t d = 0; d < targets.size(); ++d) {
        stored += Cost(Merge(kind, fit, d), targets[d].weight, targets[d].moment);
      }
      EXPECT_NEAR(stored, fit.losses.back(), kStored * fit.losses.front());
    }
  }
}

// In the plain metric two depths of rank r lose what lies beyond the leading 2r singular directions
// of their difference, half of it each way; one SVD for both (rank r) would lose more.
TEST(FitTied, IsotropicPairIsTheOptimum) {
  Rng rng(5);
  constexpr int kRank = 3;
  std::vector<TiedTarget> targets = RandomTargets(rng, 2, kRank);
  for (TiedTarget& target : targets) target.moment = Identity(kIn);
  MatrixF64 difference = targets[0].weight;
  for (int64_t i = 0; i < kOut * kIn; ++i) difference.data()[i] -= targets[1].weight.data()[i];
  const LowRank svd = TruncatedSvd(difference, kOut);
  double optimum = 0, one_svd = 0;
  for (size_t i = 0; i < svd.singular_values.size(); ++i) {
    const double energy = svd.singular_values[i] * svd.singular_values[i] / 2;
    if (i >= 2 * kRank) optimum += energy;
    if (i >= kRank) one_svd += energy;
  }
  const TiedFit fit = FitTied(ResidualKind::kLora, targets, {});
  EXPECT_NEAR(fit.losses.back(), optimum, 1e-6 * one_svd);  // damping 1e-9, f64 elsewhere
  EXPECT_LT(optimum, 0.9 * one_svd);
}

TEST(FitToMoment, IsotropicFitIsThePlainSvd) {
  Rng rng(6);
  const MatrixF64 target = RandomMatrix(rng, kOut, kIn), shared = RandomMatrix(rng, kOut, kIn);
  const ResidualParts plain = FitResidual(ResidualKind::kLora, target, shared, 4);
  const ResidualParts fitted =
      FitToMoment(ResidualKind::kLora, {target, Identity(kIn), true, 4}, shared, {});
  MatrixF32 a(kOut, kIn, Narrow(shared)), b = a;
  ApplyResidual(ResidualKind::kLora, plain, a);
  ApplyResidual(ResidualKind::kLora, fitted, b);
  EXPECT_LT(MaxAbsDifference({a.values().begin(), a.values().end()},
                             {b.values().begin(), b.values().end()}),
            kStored);
}

TEST(FitToMoment, BeatsThePlainFitInItsMetric) {
  for (const ResidualKind kind : {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora,
                                  ResidualKind::kMulDiag}) {
    Rng rng(7);
    const MatrixF64 target = RandomMatrix(rng, kOut, kIn), shared = RandomMatrix(rng, kOut, kIn);
    const MatrixF64 moment = SkewedMoment(rng, kIn);
    const auto cost = [&](const ResidualParts& parts) {
      MatrixF32 merged(kOut, kIn, Narrow(shared));
      ApplyResidual(kind, parts, merged);
      return Cost(Widen(merged.values(), kOut, kIn), target, moment);
    };
    EXPECT_LT(cost(FitToMoment(kind, {target, moment, true, 4}, shared, {})),
              cost(FitResidual(kind, target, shared, 4)))
        << Name(kind);
  }
}

TEST(FitTied, FullRankIsExact) {
  for (const ResidualKind kind :
       {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora}) {
    Rng rng(8);
    const std::vector<TiedTarget> targets = RandomTargets(rng, 3, kOut);
    const std::vector<double> weights = {1e-6, 1, 2, 3, 1, 1, 1, 50, 1, 1, 1, 1, 1, 1};
    const TiedFit fit = FitTied(kind, targets, weights);
    for (size_t d = 0; d < targets.size(); ++d) {
      EXPECT_LT(MaxAbsDifference(Narrow(Merge(kind, fit, d)), Narrow(targets[d].weight)), 1e-4)
          << Name(kind);  // f32 factors with entries of ~5; the lightest row is scaled by 100
    }
  }
}

TEST(FitTied, WeightedRowsAreFittedBetter) {
  Rng rng(9);
  const std::vector<TiedTarget> targets = RandomTargets(rng, 2, 2);
  std::vector<double> weights(kOut, 1.0);
  weights[3] = 1000;
  const auto row_cost = [&](const TiedFit& fit) {
    MatrixF64 row(1, kIn), want(1, kIn);
    const MatrixF64 merged = Merge(ResidualKind::kLora, fit, 0);
    std::copy(merged.row(3), merged.row(3) + kIn, row.data());
    std::copy(targets[0].weight.row(3), targets[0].weight.row(3) + kIn, want.data());
    return Cost(row, want, targets[0].moment);
  };
  EXPECT_LT(row_cost(FitTied(ResidualKind::kLora, targets, weights)),
            0.1 * row_cost(FitTied(ResidualKind::kLora, targets, {})));
}

TEST(FitTied, DepthsWithoutResidualGetNone) {
  Rng rng(10);
  std::vector<TiedTarget> targets = RandomTargets(rng, 3, 2);
  targets[1].residual = false;
  const TiedFit fit = FitTied(ResidualKind::kLora, targets, {});
  EXPECT_THAT(fit.residuals[1], testing::IsEmpty());
  EXPECT_THAT(fit.residuals[0], testing::SizeIs(2));
}

TEST(FitTied, RefusesKronecker) {
  Rng rng(10);
  EXPECT_THROW(FitTied(ResidualKind::kKronecker, RandomTargets(rng, 2, 2), {}), Error);
}

}  // namespace
}  // namespace rondo
