// A tensor: element type, shape and shared, immutable storage (owned or memory-mapped).
//
//   Tensor w = Tensor::FromF32({3, 4}, values);          // owns a copy
//   Tensor view(DType::kBF16, {rows, cols}, bytes, file); // keeps the mapped file alive
//   std::vector<float> f = ToF32(w);
//
// Copying a Tensor copies a pointer. A Tensor is immutable once built, so it may be read from any
// number of threads. Row-major; the last dimension is contiguous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

class ThreadPool;  // thread_pool.h

// The quantised types have the block layouts of GGUF, but for q2_0 to q3_1, which are rondo's own
// (docs/model-format.md). Their last dimension is a multiple of the block's length. Types from q2_k
// on are read but never written (CanEncode).
enum class DType {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ2_0,
  kQ2_1,
  kQ3_0,
  kQ3_1,
  kQ2_K,
  kQ3_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
};

struct DTypeInfo {
  std::string_view name;  // "f32", "q4_0", …
  int64_t block_length;   // elements per block, 1 for plain types
  int64_t block_bytes;
};

const DTypeInfo& Info(DType dtype);
bool IsQuantized(DType dtype);
// False for types that only other programs write; files that hold them can be read.
bool CanEncode(DType dtype);
// True for the types that no other program reads: q2_0, q2_1, q3_0 and q3_1.
bool OnlyRondoReads(DType dtype);
// Throws on an unknown name and suggests the nearest. Only of types that rondo can write.
DType DTypeFromName(std::string_view name);

using Shape = std::vector<int64_t>;

// Product of the dimensions; throws on negative dimensions or overflow.
int64_t ElementCount(const Shape& shape);
// Bytes of storage; throws on overflow or if the last dimension is no multiple of the block length.
uint64_t StorageBytes(DType dtype, const Shape& shape);
std::string ToString(const Shape& shape);  // "[576, 1536]"

class Tensor {
 public:
  Tensor() = default;
  // A view of `bytes`, which `owner` keeps alive. Throws if the size is not StorageBytes().
  Tensor(DType dtype, Shape shape, std::span<const std::byte> bytes,
         std::shared_ptr<const void> owner);

  // Copies values; `values.size()` must be ElementCount(shape).
  static Tensor FromF32(Shape shape, std::span<const float> values);
  // Takes the vector over without a copy.
  static Tensor FromF32(Shape shape, std::vector<float>&& values);
  // The values of little-endian doubles, rounded to f32. Throws if the size is not 8 · elements.
  static Tensor FromF64Bytes(Shape shape, std::span<const std::byte> bytes);
  // Owns raw bytes of any type.
  static Tensor FromBytes(DType dtype, Shape shape, std::vector<std::byte> bytes);

  bool empty() const { return bytes_.data() == nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(size_t i) const { return shape_.at(i); }
  // As a matrix: all leading dimensions are rows, the last is columns. A vector has one row.
  int64_t cols() const { return shape_.empty() ? 1 : shape_.back(); }
  int64_t rows() const { return cols() == 0 ? 0 : elements_ / cols(); }
  int64_t elements() const { return elements_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<const std::byte> RowBytes(int64_t row) const;
  // Values of an f32 tensor; throws for any other type, or storage that is not 4-byte aligned.
  std::span<const float> f32() const;

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  int64_t elements_ = 0;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

// Decodes one row into out[cols()].
void RowToF32(const Tensor& tensor, int64_t row, float* out);
// Decodes all elements.
std::vector<float> ToF32(const Tensor& tensor);
// Converts to any type, rows spread over `pool` if one is given; returns the same storage if
// already so. f16 and bf16 round to nearest even, quantised types as ggml's reference does (K
// types and rondo's own: scales of least squared error). Throws where the last dimension is no multiple of the
// block length, and for values that a quantised type cannot hold (not finite, or beyond the range
// of its scales).
Tensor Cast(const Tensor& tensor, DType dtype, ThreadPool* pool = nullptr);
// Rows picked by index from a [rows, cols] tensor of any type (also quantised); copies.
Tensor GatherRows(const Tensor& tensor, std::span<const int64_t> rows);

}  // namespace rondo
