// Dense linear algebra of the fold room: row-major matrices, products, the top of a symmetric
// spectrum, truncated SVD, Cholesky. Eigen, OpenBLAS and LAPACK stay behind this header.
//
//   MatrixF64 r = Widen(weights, out, in);
//   LowRank fit = TruncatedSvd(r, 64);               // fit.b · fit.a is the best rank-64 matrix
//
// Every function runs on the calling thread alone (OpenBLAS is set to one thread); run several
// matrices at once with a ThreadPool instead. Sizes must agree; a mismatch, a value that is not
// finite or a LAPACK failure throws rondo::Error.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace rondo {

template <class T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), data_(static_cast<size_t>(rows * cols)) {}
  // Takes the values over; `data.size()` must be rows · cols.
  Matrix(int64_t rows, int64_t cols, std::vector<T> data)
      : rows_(rows), cols_(cols), data_(std::move(data)) {}

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  T* data() { return data_.data(); }
  const T* data() const { return data_.data(); }
  T* row(int64_t i) { return data_.data() + i * cols_; }
  const T* row(int64_t i) const { return data_.data() + i * cols_; }
  T& operator()(int64_t i, int64_t j) { return row(i)[j]; }
  T operator()(int64_t i, int64_t j) const { return row(i)[j]; }
  std::span<const T> values() const { return data_; }
  std::vector<T> Release() && { return std::move(data_); }

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::vector<T> data_;
};

using MatrixF32 = Matrix<float>;
using MatrixF64 = Matrix<double>;

MatrixF64 Widen(std::span<const float> values, int64_t rows, int64_t cols);
std::vector<float> Narrow(const MatrixF64& matrix);  // rounds to f32
MatrixF64 Transpose(const MatrixF64& matrix);
double FrobeniusNorm(const MatrixF64& matrix);
void AddTo(MatrixF64& sum, const MatrixF64& b);  // sum += b
MatrixF64 Minus(MatrixF64 a, const MatrixF64& b);

// c = alpha · op(a) · op(b) + beta · c, where op transposes if the flag says so. `c` has its final
// shape already; with beta = 0 its old values do not matter.
enum class Op { kPlain, kTranspose };
void Gemm(Op op_a, Op op_b, double alpha, const MatrixF64& a, const MatrixF64& b, double beta,
          MatrixF64& c);
void Gemm(Op op_a, Op op_b, float alpha, const MatrixF32& a, const MatrixF32& b, float beta,
          MatrixF32& c);
// op(a) · op(b) as a new matrix.
MatrixF64 Multiply(Op op_a, const MatrixF64& a, Op op_b, const MatrixF64& b);
inline MatrixF64 Multiply(const MatrixF64& a, const MatrixF64& b) {
  return Multiply(Op::kPlain, a, Op::kPlain, b);
}

// A block of rows inside a wider array.
struct StridedRows {
  const float* data;
  int64_t rows;
  int64_t cols;
  int64_t stride;  // elements from one row to the next
};
// c = aᵀ · b in f32; c is [a.cols, b.cols].
void CrossProduct(const StridedRows& a, const StridedRows& b, MatrixF32& c);

// gram += alpha · xᵀx for the rows of x [n, d] (both triangles are filled); gram is [d, d].
void AddGram(double alpha, const MatrixF64& x, MatrixF64& gram);

struct Spectrum {
  std::vector<double> values;  // [count], largest first
  MatrixF64 vectors;           // [count, n], one orthonormal eigenvector a row
};
// The `count` largest eigenvalues of a symmetric matrix [n, n] and their vectors; reads one
// triangle.
Spectrum SymmetricEigen(MatrixF64 symmetric, int64_t count);

struct LowRank {
  MatrixF64 b;                          // [out, rank], U_r Σ_r
  MatrixF64 a;                          // [rank, in], V_rᵀ with rows of length 1
  std::vector<double> singular_values;  // [rank], largest first
};
// Best approximation b·a of r [out, in] with rank ≤ min(out, in) (Eckart, Young 1936). Computed
// from the Gram matrix of the shorter side in f64: b·a projects r onto r's leading singular
// vectors, so its error is the optimum up to second order in theirs, and at full rank b·a equals r
// to rounding. Rows of `a` whose singular value is zero are still unit vectors, so that training
// can use them.
LowRank TruncatedSvd(const MatrixF64& r, int64_t rank);

// Lower Cholesky factor L of a symmetric positive definite matrix, symmetric = L·Lᵀ, zeros above
// the diagonal. Throws if the matrix is not positive definite.
MatrixF64 Cholesky(MatrixF64 symmetric);
// b := (L·Lᵀ)⁻¹ b for the factor L [n, n] and right-hand sides b [n, m].
void CholeskySolve(const MatrixF64& factor, MatrixF64& b);
// a · (L·Lᵀ)⁻¹ for the factor L [n, n] and a [m, n].
MatrixF64 SolveRight(const MatrixF64& a, const MatrixF64& factor);
// b := L⁻¹ b, or L⁻ᵀ b with kTranspose.
void TriangularSolve(Op op, const MatrixF64& factor, MatrixF64& b);

}  // namespace rondo
