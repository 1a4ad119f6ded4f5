#include "fold/residual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "fold/random_model.h"

namespace rondo {
namespace {

constexpr double kEps32 = 0x1.0p-24;  // half a unit of an f32 number

MatrixF32 Rounded(const MatrixF64& m) { return {m.rows(), m.cols(), Narrow(m)}; }

MatrixF32 Merge(ResidualKind kind, const ResidualParts& parts, const MatrixF64& shared) {
  MatrixF32 merged = Rounded(shared);
  ApplyResidual(kind, parts, merged);
  return merged;
}

double Error(const MatrixF64& target, const MatrixF32& merged) {
  double sum = 0;
  for (size_t i = 0; i < target.values().size(); ++i) {
    const double d = target.data()[i] - merged.data()[i];
    sum += d * d;
  }
  return std::sqrt(sum);
}

double FitError(ResidualKind kind, const MatrixF64& target, const MatrixF64& shared, int rank) {
  return Error(target, Merge(kind, FitResidual(kind, target, shared, rank), shared));
}

// A pair of layers and their mean, as a fold with two loops sees them.
struct Pair {
  explicit Pair(uint64_t seed, int64_t rows = 24, int64_t cols = 40)
      : target(rows, cols), shared(rows, cols) {
    Rng rng(seed);
    target = Widen(RandomValues(rng, rows * cols), rows, cols);
    const MatrixF64 other = RandomMatrix(rng, rows, cols);
    for (int64_t i = 0; i < rows * cols; ++i) {
      shared.data()[i] = static_cast<float>((target.data()[i] + other.data()[i]) / 2);
    }
  }
  MatrixF64 target;
  MatrixF64 shared;
};

// Error of an f32 product of f32 factors with orthonormal rows of a: each of the r terms is rounded
// three times, and Σ|b||a| is at most the length of a row of the difference.
double ProductRounding(const Pair& pair, int rank) {
  return (rank + 4) * kEps32 * (FrobeniusNorm(pair.target) + FrobeniusNorm(pair.shared));
}

constexpr ResidualKind kRanked[] = {ResidualKind::kLora, ResidualKind::kLoraDiag,
                                    ResidualKind::kDora, ResidualKind::kKronecker};

TEST(FitResidualTest, FullRankIsExact) {
  for (const auto& [rows, cols] : {std::pair{24, 40}, std::pair{40, 24}, std::pair{16, 16}}) {
    const Pair pair(1, rows, cols);
    for (const ResidualKind kind : kRanked) {
      const auto [out_a, in_a] = KroneckerFactor(rows, cols);
      const int64_t limit = kind == ResidualKind::kKronecker
                                ? std::min(out_a * in_a, rows / out_a * (cols / in_a))
                                : std::min(rows, cols);
      EXPECT_LT(FitError(kind, pair.target, pair.shared, static_cast<int>(limit)),
                ProductRounding(pair, static_cast<int>(limit)))
          << Name(kind) << " " << rows << "x" << cols;
    }
  }
}

TEST(FitResidualTest, EveryKindHelpsAndMoreRankHelpsMore) {
  const Pair pair(2);
  const double bare = FitError(ResidualKind::kNone, pair.target, pair.shared, 0);
  EXPECT_LT(FitError(ResidualKind::kMulDiag, pair.target, pair.shared, 0), bare);
  for (const ResidualKind kind : kRanked) {
    double before = bare;
    for (const int rank : {1, 4, 12}) {
      const double error = FitError(kind, pair.target, pair.shared, rank);
      EXPECT_LT(error, before) << Name(kind) << " rank " << rank;
      before = error;
    }
  }
}

TEST(FitResidualTest, DiagonalAndMagnitudeNeverLoseToPlainLora) {
  for (uint64_t seed = 10; seed < 15; ++seed) {
    const Pair pair(seed);
    for (const int rank : {1, 6}) {
      const double lora = FitError(ResidualKind::kLora, pair.target, pair.shared, rank);
      EXPECT_LT(FitError(ResidualKind::kLoraDiag, pair.target, pair.shared, rank), lora);
      EXPECT_LT(FitError(ResidualKind::kDora, pair.target, pair.shared, rank), lora);
    }
  }
}

TEST(FitResidualTest, RankZeroOfDiagonalAndMagnitudeIsTheirOwnLeastSquares) {
  Rng rng(3);
  const MatrixF64 shared = Widen(RandomValues(rng, 12 * 20), 12, 20);
  MatrixF64 diagonal = shared, scaled = shared, columns = shared;
  for (int64_t i = 0; i < 12; ++i) {
    diagonal(i, i) += 0.5 + static_cast<double>(i);
    for (int64_t j = 0; j < 20; ++j) {
      scaled(i, j) *= 0.25 * static_cast<double>(i + 1);
      columns(i, j) *= static_cast<double>(j) - 7;
    }
  }
  const double rounding = 8 * kEps32 * FrobeniusNorm(columns);
  EXPECT_LT(FitError(ResidualKind::kLoraDiag, diagonal, shared, 0), rounding);
  EXPECT_LT(FitError(ResidualKind::kDora, scaled, shared, 0), rounding);
  EXPECT_LT(FitError(ResidualKind::kMulDiag, columns, shared, 0), rounding);
}

TEST(FitResidualTest, KroneckerFindsAKroneckerProduct) {
  Rng rng(4);
  const MatrixF64 shared = Widen(RandomValues(rng, 24 * 40), 24, 40);
  const auto [out_a, in_a] = KroneckerFactor(24, 40);
  const MatrixF64 a = RandomMatrix(rng, out_a, in_a);
  const MatrixF64 b = RandomMatrix(rng, 24 / out_a, 40 / in_a);
  MatrixF64 target = shared;
  for (int64_t i = 0; i < 24; ++i) {
    for (int64_t j = 0; j < 40; ++j) {
      target(i, j) += a(i / b.rows(), j / b.cols()) * b(i % b.rows(), j % b.cols());
    }
  }
  EXPECT_LT(FitError(ResidualKind::kKronecker, target, shared, 1),
            8 * kEps32 * FrobeniusNorm(target));
}

// The rank-1 error is what the best rank-1 fit of the rearranged matrix leaves.
TEST(FitResidualTest, KroneckerErrorIsTheOptimumOfTheRearrangedMatrix) {
  const Pair pair(5);
  const auto [out_a, in_a] = KroneckerFactor(24, 40);
  const int64_t out_b = 24 / out_a, in_b = 40 / in_a;
  MatrixF64 rearranged(out_a * in_a, out_b * in_b);
  for (int64_t i = 0; i < 24; ++i) {
    for (int64_t j = 0; j < 40; ++j) {
      rearranged((i / out_b) * in_a + j / in_b, (i % out_b) * in_b + j % in_b) =
          pair.target(i, j) - pair.shared(i, j);
    }
  }
  const double total = FrobeniusNorm(rearranged);
  const double top = TruncatedSvd(rearranged, 1).singular_values[0];
  const double error = FitError(ResidualKind::kKronecker, pair.target, pair.shared, 1);
  EXPECT_NEAR(error, std::sqrt(total * total - top * top), ProductRounding(pair, 1));
}

TEST(FitResidualTest, EqualMatricesNeedNothingAndRowsOfAStayUsable) {
  const Pair pair(6);
  const ResidualParts parts = FitResidual(ResidualKind::kLora, pair.shared, pair.shared, 4);
  EXPECT_THAT(ToF32(parts.at("b")), testing::Each(0.0f));
  const std::vector<float> a = ToF32(parts.at("a"));
  for (int row = 0; row < 4; ++row) {
    double length = 0;
    for (int j = 0; j < 40; ++j) length += double{a[row * 40 + j]} * a[row * 40 + j];
    EXPECT_NEAR(length, 1, 40 * kEps32);
  }
}

TEST(FitResidualTest, DoraSurvivesZeroRows) {
  Pair pair(7);
  for (int64_t j = 0; j < 40; ++j) pair.target(0, j) = pair.shared(1, j) = 0;
  for (int64_t j = 0; j < 40; ++j) pair.target(2, j) = pair.shared(2, j) = 0;
  for (const int rank : {0, 3, 24}) {
    const double error = FitError(ResidualKind::kDora, pair.target, pair.shared, rank);
    EXPECT_TRUE(std::isfinite(error));
    EXPECT_LE(error, FitError(ResidualKind::kNone, pair.target, pair.shared, 0));
  }
}

TEST(NegateResidualTest, FlipsWhatIsAdded) {
  const Pair pair(8);
  for (const ResidualKind kind :
       {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kKronecker}) {
    const ResidualParts parts = FitResidual(kind, pair.target, pair.shared, 3);
    const MatrixF64 zero(24, 40);
    const MatrixF32 plus = Merge(kind, parts, zero);
    const MatrixF32 minus = Merge(kind, NegateResidual(parts), zero);
    for (int64_t i = 0; i < 24 * 40; ++i) EXPECT_EQ(minus.data()[i], -plus.data()[i]);
  }
}

// ApplyResidual against the definitions of sharing_plan.h, one output at a time, on a random input.
TEST(ApplyResidualTest, MeansWhatTheKindSays) {
  Rng rng(9);
  constexpr int64_t kOut = 12, kIn = 18, kRank = 3;
  const MatrixF64 s = Widen(RandomValues(rng, kOut * kIn), kOut, kIn);
  const std::vector<float> x = RandomValues(rng, kIn);
  const auto [out_a, in_a] = KroneckerFactor(kOut, kIn);
  const int64_t out_b = kOut / out_a, in_b = kIn / in_a;
  const auto random = [&](Shape shape) {
    const int64_t count = ElementCount(shape);
    return Tensor::FromF32(std::move(shape), RandomValues(rng, count));
  };
  const ResidualParts parts = {{"a", random({kRank, kIn})},
                               {"b", random({kOut, kRank})},
                               {"diag", random({std::min(kOut, kIn)})},
                               {"magnitude", random({kOut})},
                               {"scale", random({kIn})}};
  const ResidualParts kronecker = {{"a", random({kRank, out_a, in_a})},
                                   {"b", random({kRank, out_b, in_b})}};
  const auto at = [](const Tensor& t, int64_t i) {
    return double{t.f32()[static_cast<size_t>(i)]};
  };
  const auto lora = [&](int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t r = 0; r < kRank; ++r) {
      sum += at(parts.at("b"), i * kRank + r) * at(parts.at("a"), r * kIn + j);
    }
    return sum;
  };
  for (int64_t i = 0; i < kOut; ++i) {
    double plain = 0, with_lora = 0, length = 0, scaled = 0, kron = 0;
    for (int64_t j = 0; j < kIn; ++j) {
      const double xj = x[static_cast<size_t>(j)], v = s(i, j) + lora(i, j);
      plain += s(i, j) * xj;
      with_lora += v * xj;
      length += v * v;
      scaled += s(i, j) * at(parts.at("scale"), j) * xj;
      for (int64_t r = 0; r < kRank; ++r) {
        kron += at(kronecker.at("a"), (r * out_a + i / out_b) * in_a + j / in_b) *
                at(kronecker.at("b"), (r * out_b + i % out_b) * in_b + j % in_b) * xj;
      }
    }
    const double diag = at(parts.at("diag"), i) * x[static_cast<size_t>(i)];
    const double dora = at(parts.at("magnitude"), i) * with_lora / std::sqrt(length);
    const auto output = [&](ResidualKind kind, const ResidualParts& p) {
      const MatrixF32 merged = Merge(kind, p, s);
      double sum = 0;
      for (int64_t j = 0; j < kIn; ++j) sum += double{merged(i, j)} * x[static_cast<size_t>(j)];
      return sum;
    };
    // 18 products of values below about 30, each rounded a few times.
    constexpr double kTolerance = 18 * 30 * 4 * kEps32;
    EXPECT_NEAR(output(ResidualKind::kNone, {}), plain, kTolerance);
    EXPECT_NEAR(output(ResidualKind::kLora, parts), with_lora, kTolerance);
    EXPECT_NEAR(output(ResidualKind::kLoraDiag, parts), with_lora + diag, kTolerance);
    EXPECT_NEAR(output(ResidualKind::kDora, parts), dora, kTolerance);
    EXPECT_NEAR(output(ResidualKind::kMulDiag, parts), scaled, kTolerance);
    EXPECT_NEAR(output(ResidualKind::kKronecker, kronecker), plain + kron, kTolerance);
  }
}

}  // namespace
}  // namespace rondo
