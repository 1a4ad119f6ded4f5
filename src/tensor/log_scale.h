// What the fields of q2_0, q2_1, q3_0 and q3_1 mean.
//
// A block of 32 values is a byte k of scale, in q2_1 and q3_1 a signed byte o of offset, then
// codes:
//
//   value = d · (q − center + o / 32),   d = 2^((k − 192) / 8), or 0 where k is 0,
//
// with center = 1.5 for q in 0 … 3 and 3.5 for q in 0 … 7. Codes are eight bytes of two low bits,
// byte i holding values i, i + 8, i + 16 and i + 24 from the lowest bit on; then, with 3 bits, a
// little-endian word whose bit i is the third bit of value i.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "rondo/tensor.h"

namespace rondo {

struct LogFormat {
  int bits;
  bool offset;  // a byte of offset follows the scale

  constexpr int highest() const { return (1 << bits) - 1; }
  constexpr float center() const { return 0.5f * static_cast<float>(highest()); }
  constexpr int header_bytes() const { return offset ? 2 : 1; }
};

constexpr LogFormat LogFormatOf(DType dtype) {
  return {dtype == DType::kQ3_0 || dtype == DType::kQ3_1 ? 3 : 2,
          dtype == DType::kQ2_1 || dtype == DType::kQ3_1};
}

// Bits of 2^(j / 8), rounded to nearest.
inline constexpr std::array<uint32_t, 8> kLogMantissas = {
    0x3f800000, 0x3f8b95c2, 0x3f9837f0, 0x3fa5fed7, 0x3fb504f3, 0x3fc5672a, 0x3fd744fd, 0x3feac0c7};
inline constexpr int kLogBias = 24;  // octaves below 1 where scales begin

constexpr float LogScale(uint8_t code) {
  if (code == 0) return 0;
  const uint32_t octaves = (code >> 3) - static_cast<uint32_t>(kLogBias);  // wraps as it should
  return std::bit_cast<float>(kLogMantissas[code & 7] + (octaves << 23));
}

// LogScale() of every code.
inline constexpr std::array<float, 256> kLogScales = [] {
  std::array<float, 256> scales{};
  for (size_t k = 0; k < scales.size(); ++k) scales[k] = LogScale(static_cast<uint8_t>(k));
  return scales;
}();

// The code whose scale is nearest by ratio; 0 for what is below half the least scale, 255 for what
// is above all. `scale` is finite; negative ones count as 0.
constexpr uint8_t NearestLogScale(float scale) {
  constexpr float kBetween[] = {0x1.0b5586p+0f, 0x1.2387a6p+0f, 0x1.3dea64p+0f, 0x1.5ab07ep+0f,
                                0x1.7a1148p+0f, 0x1.9c4918p+0f, 0x1.c199bep+0f, 0x1.ea4afap+0f};
  if (!(scale >= kLogScales[1] / 2)) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(scale);
  const float mantissa = std::bit_cast<float>((bits & 0x007fffffu) | 0x3f800000u);
  int code = (static_cast<int>(bits >> 23) - 127 + kLogBias) * 8;
  for (const float border : kBetween) code += mantissa > border ? 1 : 0;
  return static_cast<uint8_t>(std::clamp(code, 1, 255));
}

// One value. The factor of d is exact, so there is one rounding.
constexpr float LogValue(const LogFormat& format, float d, int code, int offset) {
  return d * (static_cast<float>(32 * code - 16 * format.highest() + offset) * 0x1p-5f);
}

}  // namespace rondo
