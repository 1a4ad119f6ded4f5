#include "fold/linalg.h"

#include <cblas.h>
#include <lapacke.h>

// Eigen's own products know the instruction set of the compiler's flags only; OpenBLAS chooses at
// run time.
#define EIGEN_USE_BLAS
#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <optional>
#include <string>

#include "base/checked.h"
#include "rondo/error.h"

namespace rondo {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
Eigen::Map<RowMajor<T>> View(Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}
template <class T>
Eigen::Map<const RowMajor<T>> View(const Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}
Eigen::Map<const RowMajor<float>, 0, Eigen::OuterStride<>> View(const StridedRows& rows) {
  return {rows.data, rows.rows, rows.cols, Eigen::OuterStride<>(rows.stride)};
}

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
  Require(View(m).allFinite(), function, "a value that is not a number or infinite",
          "finite weights");
}

// c = alpha · a · b + beta · c of views, transposed or not.
template <class A, class B, class T>
void Product(T alpha, const A& a, const B& b, T beta, Matrix<T>& c) {
  UseOneBlasThread();
  Require(a.cols() == b.rows() && c.rows() == a.rows() && c.cols() == b.cols(), "Gemm",
          Size(a.rows(), a.cols()) + " · " + Size(b.rows(), b.cols()) + " into " +
              Size(c.rows(), c.cols()),
          "sizes that agree");
  auto out = View(c);
  if (beta == 0) {
    out.noalias() = alpha * a * b;
    return;
  }
  if (beta != 1) out *= beta;
  out.noalias() += alpha * a * b;
}

template <class T>
void GemmOf(Op op_a, Op op_b, T alpha, const Matrix<T>& a, const Matrix<T>& b, T beta,
            Matrix<T>& c) {
  const auto left = View(a), right = View(b);
  if (op_a == Op::kPlain) {
    if (op_b == Op::kPlain) return Product(alpha, left, right, beta, c);
    return Product(alpha, left, right.transpose(), beta, c);
  }
  if (op_b == Op::kPlain) return Product(alpha, left.transpose(), right, beta, c);
  return Product(alpha, left.transpose(), right.transpose(), beta, c);
}

// The spectrum is LAPACK's: Eigen's solver finds all vectors, by another method, and takes three to
// five times as long at the sizes of a model.

// Eigenvectors come back as columns of a column-major matrix, which are rows of ours, smallest
// eigenvalue first; a symmetric matrix reads the same in both orders.
Spectrum Descending(const std::vector<double>& values, const double* vectors, int64_t n,
                    int64_t count) {
  Spectrum top{{values.end() - count, values.end()}, MatrixF64(count, n)};
  std::reverse(top.values.begin(), top.values.end());
  for (int64_t i = 0; i < count; ++i) {
    const double* source = vectors + (static_cast<int64_t>(values.size()) - 1 - i) * n;
    std::copy(source, source + n, top.vectors.row(i));
  }
  return top;
}

// Only the wanted vectors; nothing when inverse iteration did not converge.
std::optional<Spectrum> TopOfSpectrum(MatrixF64 symmetric, int64_t count) {
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

Spectrum WholeSpectrum(MatrixF64 symmetric, int64_t count) {
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
    auto row = View(fit.a).row(i);
    const double length = row.norm();
    fit.singular_values.push_back(length);
    if (length > 0) {
      row /= length;
    } else {
      row(i % fit.a.cols()) = 1;
    }
    View(fit.b).col(i) *= length;
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
  const auto from = View(matrix);
  auto to = View(out);
  for (int64_t i = 0; i < matrix.rows(); i += kTile) {
    const int64_t height = std::min(kTile, matrix.rows() - i);
    for (int64_t j = 0; j < matrix.cols(); j += kTile) {
      const int64_t width = std::min(kTile, matrix.cols() - j);
      to.block(j, i, width, height) = from.block(i, j, height, width).transpose();
    }
  }
  return out;
}

double FrobeniusNorm(const MatrixF64& matrix) { return View(matrix).norm(); }

void AddTo(MatrixF64& sum, const MatrixF64& b) {
  RequireSameSize(sum, b, "AddTo");
  View(sum) += View(b);
}

MatrixF64 Minus(MatrixF64 a, const MatrixF64& b) {
  RequireSameSize(a, b, "Minus");
  View(a) -= View(b);
  return a;
}

void Gemm(Op op_a, Op op_b, double alpha, const MatrixF64& a, const MatrixF64& b, double beta,
          MatrixF64& c) {
  GemmOf(op_a, op_b, alpha, a, b, beta, c);
}

void Gemm(Op op_a, Op op_b, float alpha, const MatrixF32& a, const MatrixF32& b, float beta,
          MatrixF32& c) {
  GemmOf(op_a, op_b, alpha, a, b, beta, c);
}

MatrixF64 Multiply(Op op_a, const MatrixF64& a, Op op_b, const MatrixF64& b) {
  MatrixF64 c(op_a == Op::kPlain ? a.rows() : a.cols(), op_b == Op::kPlain ? b.cols() : b.rows());
  Gemm(op_a, op_b, 1, a, b, 0, c);
  return c;
}

void CrossProduct(const StridedRows& a, const StridedRows& b, MatrixF32& c) {
  Product(1.0f, View(a).transpose(), View(b), 0.0f, c);
}

void AddGram(double alpha, const MatrixF64& x, MatrixF64& gram) {
  UseOneBlasThread();
  RequireSquare(gram, "AddGram");
  Require(gram.cols() == x.cols(), "AddGram", "rows of " + std::to_string(x.cols()),
          "rows as wide as the Gram matrix");
  auto out = View(gram);
  out.selfadjointView<Eigen::Lower>().rankUpdate(View(x).transpose(), alpha);
  out.triangularView<Eigen::StrictlyUpper>() = out.transpose();
}

Spectrum SymmetricEigen(MatrixF64 symmetric, int64_t count) {
  UseOneBlasThread();
  RequireSquare(symmetric, "SymmetricEigen");
  const int64_t n = symmetric.rows();
  Require(count >= 0 && count <= n, "SymmetricEigen", std::to_string(count) + " eigenvalues",
          "0 to the size of the matrix");
  RequireFinite(symmetric, "SymmetricEigen");
  if (count == 0) return {{}, MatrixF64(0, n)};
  // Bisection and inverse iteration win for a few vectors, divide and conquer for many.
  if (count * 3 <= n) {
    if (std::optional<Spectrum> top = TopOfSpectrum(symmetric, count)) return *std::move(top);
  }
  return WholeSpectrum(std::move(symmetric), count);
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
    for (int64_t i = 0; i < rank; ++i) fit.singular_values.push_back(View(fit.b).col(i).norm());
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
  auto factor = View(symmetric);
  const Eigen::LLT<Eigen::Ref<RowMajor<double>>, Eigen::Lower> llt(factor);
  Require(llt.info() == Eigen::Success, "Cholesky", "a leading minor is not positive",
          "a positive definite matrix");
  factor.triangularView<Eigen::StrictlyUpper>().setZero();
  return symmetric;
}

void TriangularSolve(Op op, const MatrixF64& factor, MatrixF64& b) {
  UseOneBlasThread();
  RequireSquare(factor, "TriangularSolve");
  Require(factor.rows() == b.rows(), "TriangularSolve", Size(b.rows(), b.cols()),
          "as many rows as the factor");
  const auto lower = View(factor);
  auto x = View(b);
  if (op == Op::kPlain) return lower.triangularView<Eigen::Lower>().solveInPlace(x);
  lower.transpose().triangularView<Eigen::Upper>().solveInPlace(x);
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
