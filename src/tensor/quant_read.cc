#include <cstring>

#include "tensor/float_convert.h"
#include "tensor/log_scale.h"
#include "tensor/quant_grid.h"

namespace rondo {
namespace {

float Half(const uint8_t* at) {
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return F32FromF16(half);
}

void ReadLogCodes(int bits, const uint8_t* low, int16_t* codes) {
  uint32_t third = 0;
  if (bits == 3) std::memcpy(&third, low + 8, sizeof(third));
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<int16_t>((low[i % 8] >> (i / 8 * 2) & 3u) | (third >> i & 1u) << 2);
  }
}

void ReadNibbles(const uint8_t* nibbles, uint32_t fifth, int bias, int16_t* codes) {
  for (int i = 0; i < 16; ++i) {
    const uint32_t low = (nibbles[i] & 15u) | (fifth >> i & 1u) << 4;
    const uint32_t high = (nibbles[i] >> 4) | (fifth >> (i + 16) & 1u) << 4;
    codes[i] = static_cast<int16_t>(static_cast<int>(low) - bias);
    codes[i + 16] = static_cast<int16_t>(static_cast<int>(high) - bias);
  }
}

}  // namespace

BlockGrid ReadBlock(DType dtype, const uint8_t* block, int16_t* codes) {
  if (OnlyRondoReads(dtype)) {
    const LogFormat format = LogFormatOf(dtype);
    const float d = kLogScales[block[0]];
    const int offset = format.offset ? static_cast<int8_t>(block[1]) : 0;
    ReadLogCodes(format.bits, block + format.header_bytes(), codes);
    return NearestGrid(dtype, d, LogValue(format, d, 0, offset));
  }
  const bool affine = dtype == DType::kQ4_1 || dtype == DType::kQ5_1;
  const BlockGrid grid = NearestGrid(dtype, Half(block), affine ? Half(block + 2) : 0);
  block += affine ? 4 : 2;
  if (dtype == DType::kQ8_0) {
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<int8_t>(block[i]);
    return grid;
  }
  uint32_t fifth = 0;
  if (dtype == DType::kQ5_0 || dtype == DType::kQ5_1) {
    std::memcpy(&fifth, block, sizeof(fifth));
    block += sizeof(fifth);
  }
  ReadNibbles(block, fifth, -grid.lowest, codes);
  return grid;
}

}  // namespace rondo
