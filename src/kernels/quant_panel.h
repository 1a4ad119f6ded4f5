// How quantised weights lie in memory: panels of 16 outputs, in groups of 32 inputs.
//
// A panel is a row of records, one per group (or, for K-quants, one per super-block of 8 groups,
// opened by the super-block's scales), so a product streams it front to back:
//
//   super-block header   f16 scale[16], and f16 min[16] for types with a minimum (K-quants only)
//   group scales         f16[16]; K-quants: u8 or i8 [16], q6_k one row per half group; q2 and q3:
//                        the bytes of log_scale.h [16]
//   group minima         f16[16] or u8[16], types with a minimum; q2_1, q3_1: i8 offsets [16];
//                        q2_0, q3_0: none, as they follow from the scale
//   low codes            [4][16][4] bytes: byte (t, o, i) holds input 8t+i of output o in its low
//                        nibble, input 8t+4+i in the high one; q8_0: [8][16][4] whole bytes; q2 and
//                        q3: [2][16][4], bits 2s and 2s+1 are the low ones of input 16t+4s+i
//   high codes           q3, q5: [16][4] bytes, bit q of byte (o, i) is the last bit of input 4q+i;
//                        q6: [2][16][4], bits 2(q % 4) of byte (q / 4, o, i)
//
// Four inputs ("a quad") of one output thus fill one 32-bit lane. Codes and scales are those of the
// file, so packing loses nothing: value = scale · (code − offset) [+ min].
#pragma once

#include <cstdint>

#include "kernels/panel.h"
#include "rondo/tensor.h"

namespace rondo {

inline constexpr int kGroup = 32;  // inputs that share an activation scale
inline constexpr int kQuads = 8;   // of a group
inline constexpr int kSuperGroups = 8;

struct QuantFormat {
  int bits;            // of a code; 8 are signed, fewer unsigned
  int offset;          // subtracted from a code
  bool min;            // every group adds a minimum
  bool super;          // 8-bit group scales under f16 scales of the super-block
  int scales;          // of a group: 2 when each half has its own
  bool log = false;    // scales are logarithms in a byte, and minima multiples of them
  bool moved = false;  // with log: the multiple has a stored part

  constexpr int groups_per_record() const { return super ? kSuperGroups : 1; }
  constexpr int header_bytes() const { return super ? (min ? 4 : 2) * kPanelWidth : 0; }
  constexpr int scale_bytes() const { return scales * (super || log ? 1 : 2) * kPanelWidth; }
  constexpr int min_bytes() const {
    if (log) return moved ? kPanelWidth : 0;
    return min ? (super ? 1 : 2) * kPanelWidth : 0;
  }
  constexpr int low_bits() const { return bits == 8 ? 8 : bits < 4 ? 2 : 4; }
  constexpr int low_bytes() const { return low_bits() * kGroup / 8 * kPanelWidth; }
  constexpr int high_bytes() const { return (bits - low_bits()) * kGroup / 8 * kPanelWidth; }
  constexpr int group_bytes() const {
    return scale_bytes() + min_bytes() + low_bytes() + high_bytes();
  }
  constexpr int record_bytes() const {
    return header_bytes() + groups_per_record() * group_bytes();
  }
};

template <DType kType>
inline constexpr QuantFormat kQuantFormat{};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ8_0>{8, 0, false, false, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ4_0>{4, 8, false, false, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ4_1>{4, 0, true, false, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ5_0>{5, 16, false, false, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ5_1>{5, 0, true, false, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ4_K>{4, 0, true, true, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ5_K>{5, 0, true, true, 1};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ6_K>{6, 32, false, true, 2};

template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ2_0>{2, 0, true, false, 1, true, false};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ2_1>{2, 0, true, false, 1, true, true};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ3_0>{3, 0, true, false, 1, true, false};
template <>
inline constexpr QuantFormat kQuantFormat<DType::kQ3_1>{3, 0, true, false, 1, true, true};

// f(integral constant of the type), for a quantised `type`.
template <typename F>
auto WithQuantType(DType type, const F& f) {
  switch (type) {
    case DType::kQ4_0:
      return f.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return f.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return f.template operator()<DType::kQ5_0>();
    case DType::kQ5_1:
      return f.template operator()<DType::kQ5_1>();
    case DType::kQ4_K:
      return f.template operator()<DType::kQ4_K>();
    case DType::kQ5_K:
      return f.template operator()<DType::kQ5_K>();
    case DType::kQ6_K:
      return f.template operator()<DType::kQ6_K>();
    case DType::kQ2_0:
      return f.template operator()<DType::kQ2_0>();
    case DType::kQ2_1:
      return f.template operator()<DType::kQ2_1>();
    case DType::kQ3_0:
      return f.template operator()<DType::kQ3_0>();
    case DType::kQ3_1:
      return f.template operator()<DType::kQ3_1>();
    default:
      return f.template operator()<DType::kQ8_0>();
  }
}

inline QuantFormat QuantFormatOf(DType type) {
  return WithQuantType(type, []<DType kType>() { return kQuantFormat<kType>; });
}

// 32 activations of one row.
struct InputBlock {
  int8_t codes[kGroup];
  float scale;
  float scaled_sum;  // scale · sum of codes
  int32_t sum;       // of the codes
  int32_t half_sum;  // of the first 16
};

}  // namespace rondo
