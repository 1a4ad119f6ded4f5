#include <cstring>

#include "tensor/log_scale.h"
#include "tensor/quant_grid.h"

namespace rondo {
namespace {

void PutHalf(uint16_t half, uint8_t* at) { std::memcpy(at, &half, sizeof(half)); }

// Low nibbles hold the first half of the values, high nibbles the second.
void PutNibbles(const int16_t* codes, int bias, uint8_t* out) {
  for (int i = 0; i < 16; ++i) {
    const int low = (codes[i] + bias) & 15, high = (codes[i + 16] + bias) & 15;
    out[i] = static_cast<uint8_t>(low | (high << 4));
  }
}

void PutFifthBits(const int16_t* codes, int bias, uint8_t* out) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= ((static_cast<uint32_t>(codes[i] + bias) >> 4) & 1u) << i;
  std::memcpy(out, &bits, sizeof(bits));
}

void PackQ8_0(const BlockGrid& grid, const int16_t* codes, uint8_t* out) {
  PutHalf(grid.half_scale, out);
  for (int i = 0; i < 32; ++i) out[2 + i] = static_cast<uint8_t>(codes[i]);
}

// The eight 6-bit pairs of q4_k and q5_k in 12 bytes.
void PutScales(const BlockGrid& grid, uint8_t* out) {
  for (size_t j = 0; j < 4; ++j) {
    const auto low_scale = static_cast<uint8_t>(grid.scale_factors[j]);
    const auto low_offset = static_cast<uint8_t>(grid.offset_factors[j]);
    const auto high_scale = static_cast<uint8_t>(grid.scale_factors[j + 4]);
    const auto high_offset = static_cast<uint8_t>(grid.offset_factors[j + 4]);
    out[j] = static_cast<uint8_t>(low_scale | ((high_scale >> 4) << 6));
    out[j + 4] = static_cast<uint8_t>(low_offset | ((high_offset >> 4) << 6));
    out[j + 8] = static_cast<uint8_t>((high_scale & 15) | ((high_offset & 15) << 4));
  }
}

void PackQ45K(const BlockGrid& grid, const int16_t* codes, uint8_t* fifth_bits, uint8_t* nibbles,
              uint8_t* out) {
  PutHalf(grid.half_scale, out);
  PutHalf(grid.half_offset, out + 2);
  PutScales(grid, out + 4);
  if (fifth_bits != nullptr) std::memset(fifth_bits, 0, 32);
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < 32; ++i) {
      const int code = codes[j * 32 + i];
      uint8_t& byte = nibbles[(j / 2) * 32 + i];
      byte = static_cast<uint8_t>((j & 1) ? byte | ((code & 15) << 4) : code & 15);
      if (fifth_bits != nullptr) fifth_bits[i] |= static_cast<uint8_t>((code >> 4) << j);
    }
  }
}

void PackQ6_K(const BlockGrid& grid, const int16_t* codes, uint8_t* out) {
  std::memset(out, 0, 192);
  for (int e = 0; e < 256; ++e) {
    const int half = e / 128, part = e / 32 % 4, i = e % 32;
    const int code = codes[e] + 32;
    out[half * 64 + (part & 1) * 32 + i] |= static_cast<uint8_t>((code & 15) << (part / 2 * 4));
    out[128 + half * 32 + i] |= static_cast<uint8_t>((code >> 4) << (2 * part));
  }
  std::memcpy(out + 192, grid.scale_factors.data(), 16);
  PutHalf(grid.half_scale, out + 208);
}

void PackLog(DType dtype, const BlockGrid& grid, const int16_t* codes, uint8_t* out) {
  const LogFormat format = LogFormatOf(dtype);
  *out++ = grid.log_scale;
  if (format.offset) *out++ = static_cast<uint8_t>(grid.log_offset);
  uint32_t third = 0;
  std::memset(out, 0, 8);
  for (int i = 0; i < 32; ++i) {
    const auto code = static_cast<uint32_t>(codes[i]);
    out[i % 8] |= static_cast<uint8_t>((code & 3u) << (i / 8 * 2));
    third |= (code >> 2 & 1u) << i;
  }
  if (format.bits == 3) std::memcpy(out + 8, &third, sizeof(third));
}

}  // namespace

void PackBlock(DType dtype, const BlockGrid& grid, const int16_t* codes, uint8_t* out) {
  switch (dtype) {
    case DType::kQ8_0:
      return PackQ8_0(grid, codes, out);
    case DType::kQ4_0:
      PutHalf(grid.half_scale, out);
      return PutNibbles(codes, 8, out + 2);
    case DType::kQ4_1:
      PutHalf(grid.half_scale, out);
      PutHalf(grid.half_offset, out + 2);
      return PutNibbles(codes, 0, out + 4);
    case DType::kQ5_0:
      PutHalf(grid.half_scale, out);
      PutFifthBits(codes, 16, out + 2);
      return PutNibbles(codes, 16, out + 6);
    case DType::kQ5_1:
      PutHalf(grid.half_scale, out);
      PutHalf(grid.half_offset, out + 2);
      PutFifthBits(codes, 0, out + 4);
      return PutNibbles(codes, 0, out + 8);
    case DType::kQ4_K:
      return PackQ45K(grid, codes, nullptr, out + 16, out);
    case DType::kQ5_K:
      return PackQ45K(grid, codes, out + 16, out + 48, out);
    case DType::kQ6_K:
      return PackQ6_K(grid, codes, out);
    case DType::kQ2_0:
    case DType::kQ2_1:
    case DType::kQ3_0:
    case DType::kQ3_1:
      return PackLog(dtype, grid, codes, out);
    default:  // types that are only read, or have no blocks: CanEncode() is false of them
      return;
  }
}

}  // namespace rondo
