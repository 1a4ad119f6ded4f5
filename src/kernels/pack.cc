#include "kernels/pack.h"

#include <string>
#include <vector>

#include "base/checked.h"
#include "kernels/aligned_buffer.h"
#include "kernels/matmul.h"
#include "kernels/panel.h"
#include "kernels/panel_memory.h"
#include "kernels/quant_panel.h"
#include "rondo/error.h"
#include "tensor/float_convert.h"
#include "tensor/quant_encode.h"

namespace rondo {
namespace {

template <typename T>
void PackFloats(const Tensor& weight, T* panels) {
  const int64_t out = weight.rows(), in = weight.cols();
  std::vector<float> rows(static_cast<size_t>(kPanelWidth * in));
  for (int64_t p = 0; p < PanelCount(out); ++p, panels += in * kPanelWidth) {
    const int64_t count = std::min<int64_t>(kPanelWidth, out - p * kPanelWidth);
    for (int64_t j = 0; j < count; ++j) RowToF32(weight, p * kPanelWidth + j, rows.data() + j * in);
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t j = 0; j < count; ++j) {
        const float value = rows[static_cast<size_t>(j * in + i)];
        if constexpr (std::is_same_v<T, float>) {
          panels[i * kPanelWidth + j] = value;
        } else {
          panels[i * kPanelWidth + j] = T{BF16FromF32(value)};
        }
      }
    }
  }
}

// Each row's blocks, as they are or encoded first.
void PackQuantised(const Tensor& weight, DType type, int64_t panel_bytes, uint8_t* panels) {
  const int64_t in = weight.cols();
  std::vector<float> values;
  std::vector<std::byte> encoded;
  if (weight.dtype() != type) {
    values.resize(static_cast<size_t>(in));
    encoded.resize(StorageBytes(type, {in}));
  }
  for (int64_t row = 0; row < weight.rows(); ++row) {
    uint8_t* panel = panels + row / kPanelWidth * panel_bytes;
    const int lane = static_cast<int>(row % kPanelWidth);
    if (values.empty()) {
      PackBlockRow(type, weight.RowBytes(row).data(), in, lane, panel);
    } else {
      RowToF32(weight, row, values.data());
      EncodeBlocks(type, values.data(), in, encoded.data());
      PackBlockRow(type, encoded.data(), in, lane, panel);
    }
  }
}

std::shared_ptr<std::byte> OwnMemory(uint64_t bytes) {
  const auto buffer = std::make_shared<AlignedBuffer>(bytes);
  return {buffer, buffer->as<std::byte>()};
}

}  // namespace

bool PackedMatrix::Supports(DType type) { return type != DType::kF16 && CanEncode(type); }

PackedMatrix::PackedMatrix(const Tensor& weight, DType type, PanelMemory* memory)
    : out_(weight.rows()), in_(weight.cols()), type_(type) {
  if (!Supports(type)) {
    throw Error({.function = "PackedMatrix",
                 .problem = "type " + std::string(Info(type).name),
                 .expected = "f32, bf16 or a quantised type"});
  }
  if (in_ % Info(type).block_length != 0) type_ = DType::kBF16;
  if (IsQuantized(type_)) {
    const QuantFormat format = QuantFormatOf(type_);
    const int64_t record = format.record_bytes();
    panel_bytes_ = CheckedMul(in_ / (format.groups_per_record() * kGroup), record);
  } else {
    panel_bytes_ = CheckedMul(in_, kPanelWidth * Info(type_).block_bytes);
  }
  bytes_ = static_cast<uint64_t>(CheckedMul(PanelCount(out_), panel_bytes_));
  const std::shared_ptr<std::byte> panels =
      memory != nullptr ? memory->Take(bytes_) : OwnMemory(bytes_);
  if (type_ == DType::kF32) {
    PackFloats(weight, reinterpret_cast<float*>(panels.get()));
  } else if (type_ == DType::kBF16) {
    PackFloats(weight, reinterpret_cast<BFloat16*>(panels.get()));
  } else {
    PackQuantised(weight, type_, panel_bytes_, reinterpret_cast<uint8_t*>(panels.get()));
  }
  panels_ = panels;
}

}  // namespace rondo
