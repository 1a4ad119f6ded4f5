#include "fold/linalg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "fold/random_model.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

// Rows made orthonormal one after the other, twice for full precision.
MatrixF64 Orthonormal(Rng& rng, int64_t count, int64_t n) {
  MatrixF64 q = RandomMatrix(rng, count, n);
  for (int64_t i = 0; i < count; ++i) {
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t k = 0; k <= i; ++k) {
        double dot = 0;
        for (int64_t j = 0; j < n; ++j) dot += q(i, j) * q(k, j);
        for (int64_t j = 0; j < n; ++j) {
          q(i, j) = k < i ? q(i, j) - dot * q(k, j) : q(i, j) / std::sqrt(dot);
        }
      }
    }
  }
  return q;
}

// U diag(s) Vᵀ with known singular values s.
MatrixF64 WithSpectrum(Rng& rng, int64_t rows, int64_t cols, const std::vector<double>& s) {
  const auto rank = static_cast<int64_t>(s.size());
  MatrixF64 left = Orthonormal(rng, rank, rows);
  const MatrixF64 right = Orthonormal(rng, rank, cols);
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rows; ++j) left(i, j) *= s[static_cast<size_t>(i)];
  }
  return Multiply(Op::kTranspose, left, Op::kPlain, right);
}

TEST(LinalgTest, GemmMultipliesTransposesAndAccumulates) {
  Rng rng(1);
  for (const Op op_a : {Op::kPlain, Op::kTranspose}) {
    for (const Op op_b : {Op::kPlain, Op::kTranspose}) {
      const bool ta = op_a == Op::kTranspose, tb = op_b == Op::kTranspose;
      const MatrixF64 a = ta ? RandomMatrix(rng, 5, 3) : RandomMatrix(rng, 3, 5);
      const MatrixF64 b = tb ? RandomMatrix(rng, 4, 5) : RandomMatrix(rng, 5, 4);
      MatrixF64 c = RandomMatrix(rng, 3, 4);
      const MatrixF64 before = c;
      Gemm(op_a, op_b, 2.0, a, b, 0.5, c);
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t j = 0; j < 4; ++j) {
          double want = 0.5 * before(i, j);
          for (int64_t k = 0; k < 5; ++k)
            want += 2 * (ta ? a(k, i) : a(i, k)) * (tb ? b(j, k) : b(k, j));
          EXPECT_NEAR(c(i, j), want, 100 * kEps);  // 5 products of values below 10
        }
      }
    }
  }
}

TEST(LinalgTest, MismatchedSizesAreErrors) {
  MatrixF64 a(2, 3), b(2, 3), c(2, 3);
  EXPECT_THROW(Gemm(Op::kPlain, Op::kPlain, 1.0, a, b, 0.0, c), Error);
  EXPECT_THROW(SymmetricEigen(a, 1), Error);
  EXPECT_THROW(TruncatedSvd(a, 3), Error);
  EXPECT_THROW(AddGram(1, a, b), Error);
  EXPECT_THROW(CholeskySolve(MatrixF64(3, 3), a), Error);
}

TEST(LinalgTest, EigenvectorsOfFewAndManyAgreeWithTheDefinition) {
  Rng rng(2);
  const MatrixF64 x = RandomMatrix(rng, 50, 30);
  MatrixF64 gram(30, 30);
  AddGram(0.5, x, gram);
  const double scale = FrobeniusNorm(gram);
  for (const int64_t count : {1, 10, 11, 30}) {  // 10 is the last served by inverse iteration
    const Spectrum eigen = SymmetricEigen(gram, count);
    ASSERT_EQ(eigen.vectors.rows(), count);
    const MatrixF64 image = Multiply(eigen.vectors, gram);
    const MatrixF64 angles = Multiply(Op::kPlain, eigen.vectors, Op::kTranspose, eigen.vectors);
    for (int64_t i = 0; i < count; ++i) {
      const double value = eigen.values[static_cast<size_t>(i)];
      EXPECT_LE(value, eigen.values[static_cast<size_t>(std::max<int64_t>(i - 1, 0))]);
      for (int64_t j = 0; j < 30; ++j) {
        EXPECT_NEAR(image(i, j), value * eigen.vectors(i, j), 30 * kEps * scale);
      }
      for (int64_t j = 0; j < count; ++j) EXPECT_NEAR(angles(i, j), i == j, 1e-13);
    }
  }
}

class TruncatedSvdTest : public testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(TruncatedSvdTest, ErrorIsTheSumOfTheSingularValuesLeftOut) {
  const auto [rows, cols] = GetParam();
  Rng rng(3);
  std::vector<double> s;
  for (int64_t i = 0; i < std::min(rows, cols); ++i) s.push_back(10 * std::pow(0.8, i));
  const MatrixF64 r = WithSpectrum(rng, rows, cols, s);
  for (int64_t rank = 0; rank <= std::min(rows, cols); ++rank) {
    const LowRank fit = TruncatedSvd(r, rank);
    double left_out = 0;
    for (size_t i = static_cast<size_t>(rank); i < s.size(); ++i) left_out += s[i] * s[i];
    const double error = FrobeniusNorm(Minus(r, Multiply(fit.b, fit.a)));
    // The last singular value is above 0.002 of the first, so f64 rounding is far below 1e-9.
    EXPECT_NEAR(error, std::sqrt(left_out), 1e-9 * std::sqrt(left_out) + 100 * kEps * s[0]);
    for (int64_t i = 0; i < rank; ++i) {
      EXPECT_NEAR(fit.singular_values[static_cast<size_t>(i)], s[static_cast<size_t>(i)], 1e-9);
    }
  }
}

TEST_P(TruncatedSvdTest, FactorsAreUSigmaAndOrthonormalV) {
  const auto [rows, cols] = GetParam();
  Rng rng(4);
  const LowRank fit = TruncatedSvd(RandomMatrix(rng, rows, cols), 5);
  const MatrixF64 a = Multiply(Op::kPlain, fit.a, Op::kTranspose, fit.a);
  const MatrixF64 b = Multiply(Op::kTranspose, fit.b, Op::kPlain, fit.b);
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < 5; ++j) {
      const double value = fit.singular_values[static_cast<size_t>(i)];
      EXPECT_NEAR(a(i, j), i == j, 1e-12);
      EXPECT_NEAR(b(i, j), i == j ? value * value : 0, 1e-11);
    }
  }
}

TEST_P(TruncatedSvdTest, ZeroAndRankDeficientMatricesKeepUnitRows) {
  const auto [rows, cols] = GetParam();
  Rng rng(5);
  for (const MatrixF64& r : {MatrixF64(rows, cols), WithSpectrum(rng, rows, cols, {3, 2})}) {
    for (const int64_t rank : {int64_t{3}, std::min(rows, cols)}) {
      const LowRank fit = TruncatedSvd(r, rank);
      EXPECT_LT(FrobeniusNorm(Minus(r, Multiply(fit.b, fit.a))), 1e-13);
      for (int64_t i = 0; i < rank; ++i) {
        double length = 0;
        for (int64_t j = 0; j < cols; ++j) length += fit.a(i, j) * fit.a(i, j);
        EXPECT_NEAR(length, 1, 1e-12);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TruncatedSvdTest,
                         testing::Values(std::pair{24, 24}, std::pair{9, 40}, std::pair{40, 9}));

TEST(LinalgTest, WeightsThatAreNotNumbersAreAnError) {
  Rng rng(6);
  MatrixF64 r = RandomMatrix(rng, 6, 8);
  r(2, 3) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(TruncatedSvd(r, 2), Error);
  r(2, 3) = std::numeric_limits<double>::infinity();
  EXPECT_THROW(TruncatedSvd(r, 6), Error);
}

TEST(LinalgTest, CholeskySolvesAndRefusesIndefiniteMatrices) {
  Rng rng(7);
  MatrixF64 gram(12, 12);
  AddGram(1, RandomMatrix(rng, 40, 12), gram);
  const MatrixF64 factor = Cholesky(gram);
  EXPECT_LT(FrobeniusNorm(Minus(gram, Multiply(Op::kPlain, factor, Op::kTranspose, factor))),
            12 * kEps * FrobeniusNorm(gram));
  const MatrixF64 x = RandomMatrix(rng, 12, 3);
  MatrixF64 solved = Multiply(gram, x);
  CholeskySolve(factor, solved);
  EXPECT_LT(FrobeniusNorm(Minus(x, solved)), 1e-11);  // condition number of the Gram matrix < 100
  gram(0, 0) = -1;
  EXPECT_THROW(Cholesky(gram), Error);
}

}  // namespace
}  // namespace rondo
