#include <string>
#include <type_traits>
#include <vector>

#include "base/checked.h"
#include "kernels/matmul.h"
#include "kernels/panel.h"
#include "rondo/error.h"
#include "tensor/float_convert.h"

namespace rondo {
namespace {

template <typename T>
void PackRows(const Tensor& weight, T* panels) {
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

}  // namespace

PackedMatrix::PackedMatrix(const Tensor& weight, DType type)
    : out_(weight.rows()), in_(weight.cols()), type_(type) {
  if (type != DType::kF32 && type != DType::kBF16) {
    throw Error({.function = "PackedMatrix",
                 .problem = "type " + std::string(Info(type).name),
                 .expected = "f32 or bf16"});
  }
  const int64_t elements = CheckedMul(CheckedMul(PanelCount(out_), int64_t{kPanelWidth}), in_);
  panels_ = AlignedBuffer(StorageBytes(type, {elements}));
  if (type == DType::kF32) {
    PackRows(weight, panels_.as<float>());
  } else {
    PackRows(weight, panels_.as<BFloat16>());
  }
}

}  // namespace rondo
