#include "hub/hf_layout.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rondo/error.h"

namespace rondo {
namespace {

// In blocks, so that neither side of a large matrix is walked a cache line per element.
template <typename T>
void TransposeInto(const std::byte* in, int64_t rows, int64_t cols, std::byte* out) {
  constexpr int64_t kBlock = 32;
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
    for (int64_t c0 = 0; c0 < cols; c0 += kBlock) {
      for (int64_t r = r0; r < std::min(r0 + kBlock, rows); ++r) {
        for (int64_t c = c0; c < std::min(c0 + kBlock, cols); ++c) {
          std::memcpy(out + (c * rows + r) * static_cast<int64_t>(sizeof(T)),
                      in + (r * cols + c) * static_cast<int64_t>(sizeof(T)), sizeof(T));
        }
      }
    }
  }
}

}  // namespace

Tensor Reshape(const Tensor& tensor, Shape shape) {
  return Tensor(tensor.dtype(), std::move(shape), tensor.bytes(),
                std::make_shared<const Tensor>(tensor));
}

Tensor SliceRows(const Tensor& tensor, int64_t begin, int64_t count) {
  if (begin < 0 || count < 0 || begin > tensor.rows() - count) {
    throw Error(
        {.function = "SliceRows",
         .problem = "rows " + std::to_string(begin) + " to " + std::to_string(begin + count),
         .expected = "within shape " + ToString(tensor.shape())});
  }
  const uint64_t row_bytes = StorageBytes(tensor.dtype(), {tensor.cols()});
  const auto bytes = tensor.bytes().subspan(static_cast<uint64_t>(begin) * row_bytes,
                                            static_cast<uint64_t>(count) * row_bytes);
  return Tensor(tensor.dtype(), {count, tensor.cols()}, bytes,
                std::make_shared<const Tensor>(tensor));
}

Tensor Transpose(const Tensor& tensor) {
  if (IsQuantized(tensor.dtype()) || tensor.shape().size() != 2) {
    throw Error({.function = "Transpose",
                 .problem = "type " + std::string(Info(tensor.dtype()).name) + ", shape " +
                            ToString(tensor.shape()),
                 .expected = "an f32, f16 or bf16 matrix"});
  }
  const int64_t rows = tensor.dim(0), cols = tensor.dim(1);
  std::vector<std::byte> bytes(tensor.bytes().size());
  if (tensor.dtype() == DType::kF32) {
    TransposeInto<uint32_t>(tensor.bytes().data(), rows, cols, bytes.data());
  } else {
    TransposeInto<uint16_t>(tensor.bytes().data(), rows, cols, bytes.data());
  }
  return Tensor::FromBytes(tensor.dtype(), {cols, rows}, std::move(bytes));
}

Tensor ConcatRows(std::span<const Tensor> parts) {
  std::vector<std::byte> bytes;
  int64_t rows = 0;
  for (const Tensor& part : parts) {
    if (part.dtype() != parts[0].dtype() || part.cols() != parts[0].cols()) {
      throw Error({.function = "ConcatRows",
                   .problem = "parts of different type or width",
                   .expected = "equal columns"});
    }
    bytes.insert(bytes.end(), part.bytes().begin(), part.bytes().end());
    rows += part.rows();
  }
  return Tensor::FromBytes(parts[0].dtype(), {rows, parts[0].cols()}, std::move(bytes));
}

}  // namespace rondo
