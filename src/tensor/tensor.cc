#include "rondo/tensor.h"

#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "tensor/float_convert.h"
#include "tensor/quant_blocks.h"
#include "tensor/quant_encode.h"

namespace rondo {
namespace {

constexpr DTypeInfo kInfos[] = {
    {"f32", 1, 4},      {"f16", 1, 2},      {"bf16", 1, 2},       {"q8_0", 32, 34},
    {"q4_0", 32, 18},   {"q4_1", 32, 20},   {"q5_0", 32, 22},     {"q5_1", 32, 24},
    {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210},   {"q2_0", 32, 9},
    {"q2_1", 32, 10},   {"q3_0", 32, 13},   {"q3_1", 32, 14},     {"q2_k", 256, 84},
    {"q3_k", 256, 110}, {"iq4_nl", 32, 18}, {"iq4_xs", 256, 136}, {"mxfp4", 32, 17},
};

void DecodeRun(DType dtype, const std::byte* bytes, int64_t count, float* out) {
  if (IsQuantized(dtype)) return DecodeBlocks(dtype, bytes, count, out);
  if (dtype == DType::kF32) {
    std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + 2 * i, sizeof(half));
    out[i] = dtype == DType::kBF16 ? F32FromBF16(half) : F32FromF16(half);
  }
}

void EncodeRun(DType dtype, const float* values, int64_t count, std::byte* out) {
  if (IsQuantized(dtype)) return EncodeBlocks(dtype, values, count, out);
  if (dtype == DType::kF32) {
    std::memcpy(out, values, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t half = dtype == DType::kBF16 ? BF16FromF32(values[i]) : F16FromF32(values[i]);
    std::memcpy(out + 2 * i, &half, sizeof(half));
  }
}

}  // namespace

const DTypeInfo& Info(DType dtype) { return kInfos[static_cast<int>(dtype)]; }

bool IsQuantized(DType dtype) { return Info(dtype).block_length > 1; }

bool CanEncode(DType dtype) { return dtype <= DType::kQ3_1; }

bool OnlyRondoReads(DType dtype) { return dtype >= DType::kQ2_0 && dtype <= DType::kQ3_1; }

DType DTypeFromName(std::string_view name) {
  std::vector<std::string> names;
  for (size_t i = 0; i < std::size(kInfos); ++i) {
    if (!CanEncode(static_cast<DType>(i))) continue;
    if (kInfos[i].name == name) return static_cast<DType>(i);
    names.emplace_back(kInfos[i].name);
  }
  throw Error({.function = "DTypeFromName",
               .problem = "unknown element type '" + std::string(name) + "'",
               .expected = UnknownNameHint(name, names)});
}

int64_t ElementCount(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) {
      throw Error({.function = "ElementCount",
                   .problem = "negative dimension in shape " + ToString(shape)});
    }
    count = CheckedMul(count, dim);
  }
  return count;
}

uint64_t StorageBytes(DType dtype, const Shape& shape) {
  const DTypeInfo& info = Info(dtype);
  const int64_t count = ElementCount(shape);
  if (info.block_length > 1 && (shape.empty() || shape.back() % info.block_length != 0)) {
    throw Error({.function = "StorageBytes",
                 .problem = "shape " + ToString(shape) + " of type " + std::string(info.name),
                 .expected = "a last dimension that is a multiple of " +
                             std::to_string(info.block_length)});
  }
  return static_cast<uint64_t>(CheckedMul(count / info.block_length, info.block_bytes));
}

std::string ToString(const Shape& shape) {
  std::vector<std::string> dims;
  for (const int64_t dim : shape) dims.push_back(std::to_string(dim));
  return "[" + Join(dims, ", ") + "]";
}

Tensor::Tensor(DType dtype, Shape shape, std::span<const std::byte> bytes,
               std::shared_ptr<const void> owner)
    : dtype_(dtype),
      shape_(std::move(shape)),
      elements_(ElementCount(shape_)),
      bytes_(bytes),
      owner_(std::move(owner)) {
  const uint64_t needed = StorageBytes(dtype_, shape_);
  if (bytes_.size() != needed) {
    throw Error({.function = "Tensor",
                 .problem = std::to_string(bytes_.size()) + " bytes for shape " + ToString(shape_) +
                            " of type " + std::string(Info(dtype_).name),
                 .expected = std::to_string(needed) + " bytes"});
  }
}

Tensor Tensor::FromF32(Shape shape, std::span<const float> values) {
  return FromF32(std::move(shape), std::vector<float>(values.begin(), values.end()));
}

Tensor Tensor::FromF32(Shape shape, std::vector<float>&& values) {
  auto owner = std::make_shared<const std::vector<float>>(std::move(values));
  return Tensor(DType::kF32, std::move(shape), std::as_bytes(std::span(*owner)), owner);
}

Tensor Tensor::FromF64Bytes(Shape shape, std::span<const std::byte> bytes) {
  const auto count = static_cast<size_t>(ElementCount(shape));
  if (bytes.size() / sizeof(double) != count || bytes.size() % sizeof(double) != 0) {
    throw Error({.function = "Tensor::FromF64Bytes",
                 .problem = std::to_string(bytes.size()) + " bytes for shape " + ToString(shape) +
                            " of type f64",
                 .expected = "8 bytes an element"});
  }
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    double value;
    std::memcpy(&value, bytes.data() + i * sizeof(double), sizeof(double));
    values[i] = static_cast<float>(value);
  }
  return FromF32(std::move(shape), std::move(values));
}

Tensor Tensor::FromBytes(DType dtype, Shape shape, std::vector<std::byte> bytes) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  return Tensor(dtype, std::move(shape), std::span(*owner), owner);
}

std::span<const std::byte> Tensor::RowBytes(int64_t row) const {
  const size_t size = static_cast<size_t>(StorageBytes(dtype_, {cols()}));
  return bytes_.subspan(static_cast<size_t>(row) * size, size);
}

std::span<const float> Tensor::f32() const {
  if (dtype_ != DType::kF32 || reinterpret_cast<uintptr_t>(bytes_.data()) % alignof(float) != 0) {
    throw Error({.function = "Tensor::f32",
                 .problem = "tensor of type " + std::string(Info(dtype_).name),
                 .expected = "aligned f32"});
  }
  return {reinterpret_cast<const float*>(bytes_.data()), static_cast<size_t>(elements_)};
}

void RowToF32(const Tensor& tensor, int64_t row, float* out) {
  DecodeRun(tensor.dtype(), tensor.RowBytes(row).data(), tensor.cols(), out);
}

std::vector<float> ToF32(const Tensor& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.elements()));
  if (!out.empty()) DecodeRun(tensor.dtype(), tensor.bytes().data(), tensor.elements(), out.data());
  return out;
}

Tensor Cast(const Tensor& tensor, DType dtype, ThreadPool* pool) {
  if (tensor.dtype() == dtype) return tensor;
  std::vector<std::byte> bytes(StorageBytes(dtype, tensor.shape()));
  const int64_t cols = tensor.cols();
  const size_t row_bytes =
      tensor.rows() > 0 ? bytes.size() / static_cast<size_t>(tensor.rows()) : 0;
  const auto rows = [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = begin; r < end; ++r) {
      RowToF32(tensor, r, row.data());
      EncodeRun(dtype, row.data(), cols, bytes.data() + static_cast<size_t>(r) * row_bytes);
    }
  };
  if (pool == nullptr) {
    rows(0, tensor.rows());
  } else {
    pool->ParallelRanges(tensor.rows(), 1, rows);
  }
  return Tensor::FromBytes(dtype, tensor.shape(), std::move(bytes));
}

Tensor GatherRows(const Tensor& tensor, std::span<const int64_t> rows) {
  const Shape shape = {static_cast<int64_t>(rows.size()), tensor.cols()};
  std::vector<std::byte> bytes;
  bytes.reserve(StorageBytes(tensor.dtype(), shape));
  for (const int64_t row : rows) {
    const auto source = tensor.RowBytes(row);
    bytes.insert(bytes.end(), source.begin(), source.end());
  }
  return Tensor::FromBytes(tensor.dtype(), shape, std::move(bytes));
}

}  // namespace rondo
