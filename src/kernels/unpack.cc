// Rows read back out of packed weights.
#include <cstring>

#include "kernels/matmul.h"
#include "kernels/panel.h"
#include "kernels/quant_panel.h"
#include "tensor/float_convert.h"
#include "tensor/log_scale.h"

namespace rondo {
namespace {

float Half(const uint8_t* row, int lane) {
  uint16_t half;
  std::memcpy(&half, row + 2 * lane, sizeof(half));
  return F32FromF16(half);
}

// Code i of a group, whose codes begin at `low`.
template <DType kType>
int Code(const uint8_t* low, int lane, int i) {
  constexpr QuantFormat format = kQuantFormat<kType>;
  constexpr int kLine = 4 * kPanelWidth;
  const int quad = i / 4, at = 4 * lane + i % 4;
  if constexpr (format.bits == 8) return static_cast<int8_t>(low[quad * kLine + at]);
  const uint8_t* high = low + format.low_bytes();
  if constexpr (format.log) {
    const int code = low[quad / 4 * kLine + at] >> (quad % 4 * 2) & 3;
    return format.bits == 3 ? code | (high[at] >> quad & 1) << 2 : code;
  }
  int code = low[quad / 2 * kLine + at] >> (quad % 2 * 4) & 15;
  if constexpr (format.bits == 5) code |= (high[at] >> quad & 1) << 4;
  if constexpr (format.bits == 6) {
    code |= (high[quad / 4 * kLine + at] >> (2 * (quad % 4)) & 3) << 4;
  }
  return code;
}

// The same operations as in DecodeBlocks(), so that the values are the same bits.
template <DType kType>
void UnpackGroup(const uint8_t* header, const uint8_t* group, int lane, float* out) {
  constexpr QuantFormat format = kQuantFormat<kType>;
  const uint8_t* minima = group + format.scale_bytes();
  const uint8_t* low = minima + format.min_bytes();
  if constexpr (format.log) {
    const float d = kLogScales[group[lane]];
    const int moved = format.moved ? static_cast<int8_t>(minima[lane]) : 0;
    for (int i = 0; i < kGroup; ++i) {
      out[i] = LogValue(LogFormatOf(kType), d, Code<kType>(low, lane, i), moved);
    }
  } else if constexpr (format.bits == 6) {
    const float d = Half(header, lane);
    for (int i = 0; i < kGroup; ++i) {
      const auto scale = static_cast<int8_t>(group[i / 16 * kPanelWidth + lane]);
      out[i] = d * static_cast<float>(scale * (Code<kType>(low, lane, i) - format.offset));
    }
  } else if constexpr (format.super) {
    const float scale = Half(header, lane) * group[lane];
    const float min = Half(header + 2 * kPanelWidth, lane) * minima[lane];
    for (int i = 0; i < kGroup; ++i) {
      out[i] = scale * static_cast<float>(Code<kType>(low, lane, i)) - min;
    }
  } else {
    const float d = Half(group, lane);
    // q5_0 is decoded as q5_1 with a minimum of −16 d.
    const float min = format.min ? Half(minima, lane) : -16.0f * d;
    for (int i = 0; i < kGroup; ++i) {
      const int code = Code<kType>(low, lane, i);
      out[i] = format.min || format.bits == 5 ? d * static_cast<float>(code) + min
                                              : d * static_cast<float>(code - format.offset);
    }
  }
}

template <DType kType>
void UnpackRow(const uint8_t* panel, int64_t in, int lane, float* out) {
  constexpr QuantFormat format = kQuantFormat<kType>;
  for (const float* end = out + in; out < end;) {
    const uint8_t* header = panel;
    panel += format.header_bytes();
    for (int j = 0; j < format.groups_per_record(); ++j, out += kGroup) {
      UnpackGroup<kType>(header, panel, lane, out);
      panel += format.group_bytes();
    }
  }
}

}  // namespace

bool PackedMatrix::Holds(DType stored) const { return type_ == DType::kF32 || type_ == stored; }

void PackedMatrix::RowToF32(int64_t row, float* out) const {
  const std::byte* panel = panels_.get() + row / kPanelWidth * panel_bytes_;
  const auto lane = static_cast<int>(row % kPanelWidth);
  if (type_ == DType::kF32) {
    const auto* values = reinterpret_cast<const float*>(panel) + lane;
    for (int64_t i = 0; i < in_; ++i) out[i] = values[i * kPanelWidth];
  } else if (type_ == DType::kBF16) {
    const auto* values = reinterpret_cast<const uint16_t*>(panel) + lane;
    for (int64_t i = 0; i < in_; ++i) out[i] = F32FromBF16(values[i * kPanelWidth]);
  } else {
    WithQuantType(type_, [&]<DType kType>() {
      UnpackRow<kType>(reinterpret_cast<const uint8_t*>(panel), in_, lane, out);
    });
  }
}

}  // namespace rondo
