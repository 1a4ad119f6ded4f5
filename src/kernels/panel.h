// The panel: 16 outputs side by side for each k, [k][16]. Packed weights, keys and values all use
// it, so one tile product serves linears and attention.
#pragma once

#include <cstdint>

namespace rondo {

inline constexpr int kPanelWidth = 16;

constexpr int64_t PanelCount(int64_t outputs) { return (outputs + kPanelWidth - 1) / kPanelWidth; }

// The bits of a bf16 value.
enum class BFloat16 : uint16_t {};
// A quantised value; its scale is kept elsewhere.
enum class Int8 : int8_t {};

}  // namespace rondo
