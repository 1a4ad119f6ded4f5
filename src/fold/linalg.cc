#include "fold/linalg.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "base/checked.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// OpenBLAS has one setting for the whole process; parallel work is over matrices, not inside them.
void UseOneBlasThread() {
  static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

std::string Size(int64_t rows, int64_t cols) {
  return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

void Require(bool ok, const char* function, const std::string& problem, const char* expected) {
  if (!ok) throw Error({.function = function, .problem = problem, .expected = expected});
}

template <class T>
void RequireSquare(const Matrix<T>& m, const char* function) {
  Require(m.rows() == m.cols(), function, "matrix " + Size(m.rows(), m.cols()), "a square matrix");
}

void RequireSameSize(const MatrixF64& a, const MatrixF64& b, const char* function) {
  Require(a.rows() == b.rows() && a.cols() == b.cols(), function,
          Size(a.rows(), a.cols()) + " and " + Size(b.rows(), b.cols()), "sizes that agree");
}

void RequireFinite(const MatrixF64& m, const char* function) {
  const bool finite = std::all_of(m.values().begin(), m.values().end(),
                                  [](double value) { return std::isfinite(value); });
  Require(finite, function, "a value that is not a number or infinite", "finite weights");
}

CBLAS_TRANSPOSE Cblas(Op op) { return op == Op::kPlain ? CblasNoTrans : CblasTrans; }

struct GemmSizes {
  blasint m, n, k, lda, ldb, ldc;
};

template <class T>
GemmSizes CheckGemm(Op op_a, Op op_b, const Matrix<T>& a, const Matrix<T>& b, const Matrix<T>& c) {
  const bool plain_a = op_a == Op::kPlain, plain_b = op_b == Op::kPlain;
  const int64_t m = plain_a ? a.rows() : a.cols(), k = plain_a ? a.cols() : a.rows();
  const int64_t k_b = plain_b ? b.rows() : b.cols(), n = plain_b ? b.cols() : b.rows();
  Require(k == k_b && c.rows() == m && c.cols() == n, "Gemm",
          Size(m, k) + " · " + Size(k_b, n) + " into " + Size(c.rows(), c.cols()),
          "sizes that agree");
  const auto stride = [](const Matrix<T>& x) {
    return CheckedCast<blasint>(std::max<int64_t>(x.cols(), 1));
  };
  return {CheckedCast<blasint>(m),
          CheckedCast<blasint>(n),
          CheckedCast<blasint>(k),
          stride(a),
          stride(b),
          stride(c)};
}

// Eigenvectors come back as columns of a column-major matrix, which are rows of ours, smallest
// eigenvalue first; a symmetric matrix reads the same in both orders.
Eigen Descending(const std::vector<double>& values, const double* vectors, int64_t n,
                 int64_t count) {
  Eigen eigen{{values.end() - count, values.end()}, MatrixF64(count, n)};
  std::reverse(eigen.values.begin(), eigen.values.end());
  for (int64_t i = 0; i < count; ++i) {
    const double* source = vectors + (static_cast<int64_t>(values.size()) - 1 - i) * n;
    std::copy(source, source + n, eigen.vectors.row(i));
  }
  return eigen;
}

// Only the wanted vectors; nothing when inverse iteration did not converge.
std::optional<Eigen> EigenSubset(MatrixF64 symmetric, int64_t count) {
  const auto n = CheckedCast<lapack_int>(symmetric.rows());
  std::vector<double> values(static_cast<size_t>(n));
  std::vector<lapack_int> support(static_cast<size_t>(2 * n));
  MatrixF64 vectors(count, n);
  lapack_int found = 0;
  const lapack_int info = LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'I', 'L', n, symmetric.data(), n, 0,
                                         0, static_cast<lapack_int>(n - count + 1), n, 0, &found,
                                         values.data(), vectors.data(), n, support.data());
  if (info != 0 || found != count) return std::nullopt;
  values.resize(static_cast<size_t>(count));
  return Descending(values, vectors.data(), n, count);
}

Eigen EigenAll(MatrixF64 symmetric, int64_t count) {
  const auto n = CheckedCast<lapack_int>(symmetric.rows());
  std::vector<double> values(static_cast<size_t>(n));
  const lapack_int info =
      LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'L', n, symmetric.data(), n, values.data());
  Require(info == 0, "SymmetricEigen", "LAPACK dsyevd status " + std::to_string(info),
          "convergence");
  return Descending(values, symmetric.data(), n, count);
}

// Normalises the rows of `a`, moving their lengths (the singular values) into the columns of `b`.
void MoveLengths(LowRank& fit) {
  for (int64_t i = 0; i < fit.a.rows(); ++i) {
    double* row = fit.a.row(i);
    const double length = cblas_dnrm2(static_cast<blasint>(fit.a.cols()), row, 1);
    fit.singular_values.push_back(length);
    if (length > 0) {
      for (int64_t j = 0; j < fit.a.cols(); ++j) row[j] /= length;
    } else {
      row[i % fit.a.cols()] = 1;
    }
    for (int64_t j = 0; j < fit.b.rows(); ++j) fit.b(j, i) *= length;
  }
}

}  // namespace

MatrixF64 Widen(std::span<const float> values, int64_t rows, int64_t cols) {
  Require(static_cast<int64_t>(values.size()) == rows * cols, "Widen",
          std::to_string(values.size()) + " values", "rows * cols of them");
  return {rows, cols, std::vector<double>(values.begin(), values.end())};
}

std::vector<float> Narrow(const MatrixF64& matrix) {
  return {matrix.values().begin(), matrix.values().end()};
}

MatrixF64 Transpose(const MatrixF64& matrix) {
  constexpr int64_t kTile = 32;  // keeps both sides of the copy in the first cache level
  MatrixF64 out(matrix.cols(), matrix.rows());
  for (int64_t i0 = 0; i0 < matrix.rows(); i0 += kTile) {
    for (int64_t j0 = 0; j0 < matrix.cols(); j0 += kTile) {
      for (int64_t i = i0; i < std::min(i0 + kTile, matrix.rows()); ++i) {
        for (int64_t j = j0; j < std::min(j0 + kTile, matrix.cols()); ++j) out(j, i) = matrix(i, j);
      }
    }
  }
  return out;
}

double FrobeniusNorm(const MatrixF64& matrix) {
  double sum = 0;
  for (const double value : matrix.values()) sum += value * value;
  return std::sqrt(sum);
}

void AddTo(MatrixF64& sum, const MatrixF64& b) {
  RequireSameSize(sum, b, "AddTo");
  for (int64_t i = 0; i < b.rows() * b.cols(); ++i) sum.data()[i] += b.data()[i];
}

MatrixF64 Minus(MatrixF64 a, const MatrixF64& b) {
  RequireSameSize(a, b, "Minus");
  for (int64_t i = 0; i < b.rows() * b.cols(); ++i) a.data()[i] -= b.data()[i];
  return a;
}

void Gemm(Op op_a, Op op_b, double alpha, const MatrixF64& a, const MatrixF64& b, double beta,
          MatrixF64& c) {
  UseOneBlasThread();
  const GemmSizes s = CheckGemm(op_a, op_b, a, b, c);
  cblas_dgemm(CblasRowMajor, Cblas(op_a), Cblas(op_b), s.m, s.n, s.k, alpha, a.data(), s.lda,
              b.data(), s.ldb, beta, c.data(), s.ldc);
}

void Gemm(Op op_a, Op op_b, float alpha, const MatrixF32& a, const MatrixF32& b, float beta,
          MatrixF32& c) {
  UseOneBlasThread();
  const GemmSizes s = CheckGemm(op_a, op_b, a, b, c);
  cblas_sgemm(CblasRowMajor, Cblas(op_a), Cblas(op_b), s.m, s.n, s.k, alpha, a.data(), s.lda,
              b.data(), s.ldb, beta, c.data(), s.ldc);
}

MatrixF64 Multiply(Op op_a, const MatrixF64& a, Op op_b, const MatrixF64& b) {
  MatrixF64 c(op_a == Op::kPlain ? a.rows() : a.cols(), op_b == Op::kPlain ? b.cols() : b.rows());
  Gemm(op_a, op_b, 1, a, b, 0, c);
  return c;
}

void CrossProduct(const StridedRows& a, const StridedRows& b, MatrixF32& c) {
  UseOneBlasThread();
  Require(a.rows == b.rows && c.rows() == a.cols && c.cols() == b.cols, "CrossProduct",
          Size(a.cols, a.rows) + " · " + Size(b.rows, b.cols) + " into " + Size(c.rows(), c.cols()),
          "sizes that agree");
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, CheckedCast<blasint>(a.cols),
              CheckedCast<blasint>(b.cols), CheckedCast<blasint>(a.rows), 1, a.data,
              CheckedCast<blasint>(a.stride), b.data, CheckedCast<blasint>(b.stride), 0, c.data(),
              CheckedCast<blasint>(std::max<int64_t>(c.cols(), 1)));
}

void AddGram(double alpha, const MatrixF64& x, MatrixF64& gram) {
  UseOneBlasThread();
  RequireSquare(gram, "AddGram");
  Require(gram.cols() == x.cols(), "AddGram", "rows of " + std::to_string(x.cols()),
          "rows as wide as the Gram matrix");
  const auto d = CheckedCast<blasint>(x.cols()), n = CheckedCast<blasint>(x.rows());
  cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, d, n, alpha, x.data(), std::max(d, 1), 1,
              gram.data(), std::max(d, 1));
  for (int64_t i = 0; i < gram.rows(); ++i) {
    for (int64_t j = i + 1; j < gram.cols(); ++j) gram(i, j) = gram(j, i);
  }
}

Eigen SymmetricEigen(MatrixF64 symmetric, int64_t count) {
  UseOneBlasThread();
  RequireSquare(symmetric, "SymmetricEigen");
  const int64_t n = symmetric.rows();
  Require(count >= 0 && count <= n, "SymmetricEigen", std::to_string(count) + " eigenvalues",
          "0 to the size of the matrix");
  RequireFinite(symmetric, "SymmetricEigen");
  if (count == 0) return {{}, MatrixF64(0, n)};
  // Bisection and inverse iteration win for a few vectors, divide and conquer for many.
  if (count * 3 <= n) {
    if (std::optional<Eigen> top = EigenSubset(symmetric, count)) return *std::move(top);
  }
  return EigenAll(std::move(symmetric), count);
}

LowRank TruncatedSvd(const MatrixF64& r, int64_t rank) {
  const int64_t shorter = std::min(r.rows(), r.cols());
  Require(rank >= 0 && rank <= shorter, "TruncatedSvd", "rank " + std::to_string(rank),
          "at most the shorter side of the matrix");
  MatrixF64 gram(shorter, shorter);
  LowRank fit;
  if (r.cols() <= r.rows()) {
    AddGram(1, r, gram);
    fit.a = SymmetricEigen(std::move(gram), rank).vectors;
    fit.b = Multiply(Op::kPlain, r, Op::kTranspose, fit.a);
    for (int64_t i = 0; i < rank; ++i) {
      fit.singular_values.push_back(cblas_dnrm2(static_cast<blasint>(fit.b.rows()),
                                                fit.b.data() + i,
                                                static_cast<blasint>(fit.b.cols())));
    }
    return fit;
  }
  AddGram(1, Transpose(r), gram);
  const MatrixF64 left = SymmetricEigen(std::move(gram), rank).vectors;
  fit.a = Multiply(left, r);
  fit.b = Transpose(left);
  MoveLengths(fit);
  return fit;
}

MatrixF64 Cholesky(MatrixF64 symmetric) {
  UseOneBlasThread();
  RequireSquare(symmetric, "Cholesky");
  RequireFinite(symmetric, "Cholesky");
  const auto n = CheckedCast<lapack_int>(symmetric.rows());
  // The upper triangle of the column-major view is the lower one of ours.
  const lapack_int info =
      LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', n, symmetric.data(), std::max(n, 1));
  Require(info == 0, "Cholesky", "leading minor " + std::to_string(info) + " is not positive",
          "a positive definite matrix");
  for (int64_t i = 0; i < n; ++i) std::fill(symmetric.row(i) + i + 1, symmetric.row(i) + n, 0.0);
  return symmetric;
}

void TriangularSolve(Op op, const MatrixF64& factor, MatrixF64& b) {
  UseOneBlasThread();
  RequireSquare(factor, "TriangularSolve");
  Require(factor.rows() == b.rows(), "TriangularSolve", Size(b.rows(), b.cols()),
          "as many rows as the factor");
  const auto n = CheckedCast<blasint>(b.rows()), m = CheckedCast<blasint>(b.cols());
  cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, Cblas(op), CblasNonUnit, n, m, 1, factor.data(),
              std::max(n, 1), b.data(), std::max(m, 1));
}

void CholeskySolve(const MatrixF64& factor, MatrixF64& b) {
  TriangularSolve(Op::kPlain, factor, b);
  TriangularSolve(Op::kTranspose, factor, b);
}

MatrixF64 SolveRight(const MatrixF64& a, const MatrixF64& factor) {
  MatrixF64 x = Transpose(a);
  CholeskySolve(factor, x);
  return Transpose(x);
}

}  // namespace rondo
