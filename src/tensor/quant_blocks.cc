#include "tensor/quant_blocks.h"

#include <bit>
#include <cstring>

#include "rondo/error.h"
#include "tensor/float_convert.h"
#include "tensor/log_scale.h"

namespace rondo {
namespace {

constexpr int kSmallBlock = 32;
constexpr int kSuperBlock = 256;

float ReadHalf(const uint8_t* at) {
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return F32FromF16(half);
}

// q8_0: half d, int8 q[32]; value = d·q.
void DecodeQ8_0(const uint8_t* block, float* out) {
  const float d = ReadHalf(block);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<int8_t>(block[2 + i]);
}

// q4_0 / q4_1: half d [half m], 16 bytes of nibbles: low nibbles first 16 values, high the rest.
void DecodeQ4_0(const uint8_t* block, float* out) {
  const float d = ReadHalf(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block[2 + i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

void DecodeQ4_1(const uint8_t* block, float* out) {
  const float d = ReadHalf(block);
  const float m = ReadHalf(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block[4 + i] & 15) + m;
    out[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
  }
}

// q5_0 / q5_1: as q4 with a 32-bit word of fifth bits before the nibbles.
void DecodeQ5(const uint8_t* high_bits, const uint8_t* nibbles, float d, float m, float* out) {
  uint32_t high;
  std::memcpy(&high, high_bits, sizeof(high));
  for (int i = 0; i < 16; ++i) {
    const uint32_t low_value = (nibbles[i] & 15u) | (((high >> i) & 1u) << 4);
    const uint32_t high_value = (nibbles[i] >> 4) | (((high >> (i + 16)) & 1u) << 4);
    out[i] = d * static_cast<float>(low_value) + m;
    out[i + 16] = d * static_cast<float>(high_value) + m;
  }
}

void DecodeQ5_0(const uint8_t* block, float* out) {
  const float d = ReadHalf(block);
  DecodeQ5(block + 2, block + 6, d, -16.0f * d, out);
}

void DecodeQ5_1(const uint8_t* block, float* out) {
  DecodeQ5(block + 4, block + 8, ReadHalf(block), ReadHalf(block + 2), out);
}

// The eight 6-bit (scale, minimum) pairs of a K-quant super-block, packed into 12 bytes.
void UnpackScaleMin(const uint8_t* packed, int j, uint8_t* scale, uint8_t* minimum) {
  if (j < 4) {
    *scale = packed[j] & 63;
    *minimum = packed[j + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4));
    *minimum = static_cast<uint8_t>((packed[j + 4] >> 4) | ((packed[j] >> 6) << 4));
  }
}

// q4_k: half d, half dmin, 12 bytes of scales, 128 bytes of nibbles in four groups of 64 values.
// q5_k: the same with 32 bytes of fifth bits between scales and nibbles.
void DecodeQ45K(const uint8_t* block, const uint8_t* fifth_bits, const uint8_t* nibbles,
                float* out) {
  const float d = ReadHalf(block);
  const float dmin = ReadHalf(block + 2);
  const uint8_t* packed = block + 4;
  for (int j = 0; j < 8; ++j) {
    uint8_t scale, minimum;
    UnpackScaleMin(packed, j, &scale, &minimum);
    const float s = d * scale;
    const float m = dmin * minimum;
    const uint8_t* q = nibbles + (j / 2) * 32;
    for (int i = 0; i < 32; ++i) {
      int value = (j & 1) ? q[i] >> 4 : q[i] & 15;
      if (fifth_bits != nullptr) value |= ((fifth_bits[i] >> j) & 1) << 4;
      out[j * 32 + i] = s * static_cast<float>(value) - m;
    }
  }
}

void DecodeQ4_K(const uint8_t* block, float* out) { DecodeQ45K(block, nullptr, block + 16, out); }
void DecodeQ5_K(const uint8_t* block, float* out) {
  DecodeQ45K(block, block + 16, block + 48, out);
}

// q6_k: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 int8 scales, half d.
void DecodeQ6_K(const uint8_t* block, float* out) {
  const float d = ReadHalf(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    const uint8_t* scales = block + 192 + half * 8;
    for (int i = 0; i < 32; ++i) {
      for (int part = 0; part < 4; ++part) {
        const uint8_t byte = low[i + (part & 1) * 32];
        const int nibble = part < 2 ? byte & 15 : byte >> 4;
        const int value = (nibble | (((high[i] >> (2 * part)) & 3) << 4)) - 32;
        const auto scale = static_cast<int8_t>(scales[part * 2 + i / 16]);
        out[half * 128 + part * 32 + i] = d * static_cast<float>(scale * value);
      }
    }
  }
}

// q2_0 to q3_1: see log_scale.h.
template <DType kType>
void DecodeLog(const uint8_t* block, float* out) {
  constexpr LogFormat format = LogFormatOf(kType);
  const float d = kLogScales[block[0]];
  const int offset = format.offset ? static_cast<int8_t>(block[1]) : 0;
  float values[format.highest() + 1];
  for (int q = 0; q <= format.highest(); ++q) values[q] = LogValue(format, d, q, offset);
  const uint8_t* low = block + format.header_bytes();
  uint32_t third = 0;
  if (format.bits == 3) std::memcpy(&third, low + 8, sizeof(third));
  for (int i = 0; i < kSmallBlock; ++i) {
    const uint32_t code = (low[i % 8] >> (i / 8 * 2) & 3u) | (third >> i & 1u) << 2;
    out[i] = values[code];
  }
}

// The types from here on are read and never written.

// q2_k: 16 bytes of (scale, minimum) nibbles, 64 bytes of 2-bit codes, half d, half dmin.
void DecodeQ2_K(const uint8_t* block, float* out) {
  const float d = ReadHalf(block + 80);
  const float dmin = ReadHalf(block + 82);
  for (int j = 0; j < 16; ++j) {  // groups of 16 values
    const float s = d * static_cast<float>(block[j] & 15);
    const float m = dmin * static_cast<float>(block[j] >> 4);
    const uint8_t* codes = block + 16 + j / 8 * 32 + j % 2 * 16;
    const int shift = j / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      out[j * 16 + i] = s * static_cast<float>((codes[i] >> shift) & 3) - m;
    }
  }
}

// q3_k: 32 bytes of third bits, 64 bytes of 2-bit codes, 16 packed 6-bit scales, half d.
void DecodeQ3_K(const uint8_t* block, float* out) {
  const float d = ReadHalf(block + 108);
  const uint8_t* packed = block + 96;
  for (int j = 0; j < 16; ++j) {
    const int low = (packed[j % 8] >> (j / 8 * 4)) & 15;
    const int high = (packed[8 + j % 4] >> (j / 4 * 2)) & 3;
    const float s = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* third = block + j % 2 * 16;
    const uint8_t* codes = block + 32 + j / 8 * 32 + j % 2 * 16;
    const int shift = j / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int offset = (third[i] >> (j / 2)) & 1 ? 0 : 4;  // a set bit means no offset
      out[j * 16 + i] = s * static_cast<float>(((codes[i] >> shift) & 3) - offset);
    }
  }
}

// The values that the codes of iq4_nl and iq4_xs, and of mxfp4 (doubled), stand for.
constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
constexpr int8_t kE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void DecodeTable(const int8_t* table, float d, const uint8_t* nibbles, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(table[nibbles[i] & 15]);
    out[i + 16] = d * static_cast<float>(table[nibbles[i] >> 4]);
  }
}

// iq4_nl: half d, 16 bytes of nibbles.
void DecodeIQ4_NL(const uint8_t* block, float* out) {
  DecodeTable(kNonLinear, ReadHalf(block), block + 2, out);
}

// iq4_xs: half d, 16 bits of high scale bits, 4 bytes of low ones, 128 bytes of nibbles.
void DecodeIQ4_XS(const uint8_t* block, float* out) {
  const float d = ReadHalf(block);
  uint16_t high;
  std::memcpy(&high, block + 2, sizeof(high));
  for (int j = 0; j < 8; ++j) {
    const int low = (block[4 + j / 2] >> (j % 2 * 4)) & 15;
    const float s = d * static_cast<float>((low | ((high >> (2 * j)) & 3) << 4) - 32);
    DecodeTable(kNonLinear, s, block + 8 + j * 16, out + j * 32);
  }
}

// mxfp4: an exponent, 16 bytes of nibbles.
void DecodeMXFP4(const uint8_t* block, float* out) {
  // 2^(exponent - 128): half of what the format says, since the table has doubled values.
  const uint32_t exponent = block[0];
  const uint32_t bits = exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23;
  DecodeTable(kE2M1, std::bit_cast<float>(bits), block + 1, out);
}

using Decoder = void (*)(const uint8_t*, float*);

Decoder DecoderOf(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return DecodeQ8_0;
    case DType::kQ4_0:
      return DecodeQ4_0;
    case DType::kQ4_1:
      return DecodeQ4_1;
    case DType::kQ5_0:
      return DecodeQ5_0;
    case DType::kQ5_1:
      return DecodeQ5_1;
    case DType::kQ4_K:
      return DecodeQ4_K;
    case DType::kQ5_K:
      return DecodeQ5_K;
    case DType::kQ6_K:
      return DecodeQ6_K;
    case DType::kQ2_0:
      return DecodeLog<DType::kQ2_0>;
    case DType::kQ2_1:
      return DecodeLog<DType::kQ2_1>;
    case DType::kQ3_0:
      return DecodeLog<DType::kQ3_0>;
    case DType::kQ3_1:
      return DecodeLog<DType::kQ3_1>;
    case DType::kQ2_K:
      return DecodeQ2_K;
    case DType::kQ3_K:
      return DecodeQ3_K;
    case DType::kIQ4_NL:
      return DecodeIQ4_NL;
    case DType::kIQ4_XS:
      return DecodeIQ4_XS;
    case DType::kMXFP4:
      return DecodeMXFP4;
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  throw Error({.function = "DecodeBlocks",
               .problem = "type " + std::string(Info(dtype).name) + " has no blocks"});
}

static_assert(kSuperBlock == 8 * kSmallBlock);

}  // namespace

void DecodeBlocks(DType dtype, const std::byte* blocks, int64_t count, float* out) {
  const Decoder decode = DecoderOf(dtype);
  const DTypeInfo& info = Info(dtype);
  const auto* block = reinterpret_cast<const uint8_t*>(blocks);
  for (int64_t i = 0; i < count; i += info.block_length) {
    decode(block, out + i);
    block += info.block_bytes;
  }
}

}  // namespace rondo
