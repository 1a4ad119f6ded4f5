#include <cstring>

#include "kernels/pack.h"
#include "kernels/panel.h"
#include "kernels/quant_panel.h"

namespace rondo {
namespace {

// One group of a block, its fields as stored.
struct Group {
  uint8_t codes[kGroup];
  uint16_t half_scale, half_min;  // of the group, or of the super-block
  uint8_t scales[2], min;         // under a super-block, or of a type with log scales
};

uint16_t Half(const uint8_t* at) {
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return half;
}

// Low nibbles are the first 16 codes, high ones the rest.
void Nibbles(const uint8_t* bytes, Group& group) {
  for (int i = 0; i < 16; ++i) {
    group.codes[i] = bytes[i] & 15;
    group.codes[i + 16] = bytes[i] >> 4;
  }
}

// Bit i as the lowest of byte i.
uint64_t SpreadBits(uint8_t bits) {
  const uint64_t chosen = bits * 0x0101010101010101u & 0x8040201008040201u;
  return (chosen + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

// The header halves, then for 5 bits a word of fifth bits, then nibbles or bytes.
template <int kBits, bool kMin>
void ReadSmall(const uint8_t* block, Group& group) {
  group.half_scale = Half(block);
  block += 2;
  if (kMin) {
    group.half_min = Half(block);
    block += 2;
  }
  if (kBits == 8) {
    std::memcpy(group.codes, block, kGroup);
    return;
  }
  if (kBits == 4) return Nibbles(block, group);
  uint32_t fifth;
  std::memcpy(&fifth, block, sizeof(fifth));
  Nibbles(block + sizeof(fifth), group);
  for (int i = 0; i < kGroup; i += 8) {
    uint64_t codes;
    std::memcpy(&codes, group.codes + i, sizeof(codes));
    codes |= SpreadBits(static_cast<uint8_t>(fifth >> i)) << 4;
    std::memcpy(group.codes + i, &codes, sizeof(codes));
  }
}

// q2 and q3: scale, offset, eight bytes with codes i, i + 8, i + 16 and i + 24, a word of third
// bits.
template <int kBits, bool kMoved>
void ReadLog(const uint8_t* block, Group& group) {
  group.scales[0] = *block++;
  if (kMoved) group.min = *block++;
  uint64_t low;
  std::memcpy(&low, block, sizeof(low));
  uint32_t third = 0;
  if (kBits == 3) std::memcpy(&third, block + sizeof(low), sizeof(third));
  for (int i = 0; i < kGroup; i += 8, low >>= 2) {
    uint64_t codes = low & 0x0303030303030303u;
    if (kBits == 3) codes |= SpreadBits(static_cast<uint8_t>(third >> i)) << 2;
    std::memcpy(group.codes + i, &codes, sizeof(codes));
  }
}

// Group j of a q4_k or q5_k super-block: halves, 12 bytes with eight 6-bit pairs of scale and
// minimum, for 5 bits 32 bytes of fifth bits, nibbles.
template <int kBits>
void ReadQ45K(const uint8_t* block, int j, Group& group) {
  group.half_scale = Half(block);
  group.half_min = Half(block + 2);
  const uint8_t* pairs = block + 4;
  if (j < 4) {
    group.scales[0] = pairs[j] & 63;
    group.min = pairs[j + 4] & 63;
  } else {
    group.scales[0] = static_cast<uint8_t>((pairs[j + 4] & 15) | ((pairs[j - 4] >> 6) << 4));
    group.min = static_cast<uint8_t>((pairs[j + 4] >> 4) | ((pairs[j] >> 6) << 4));
  }
  const uint8_t* fifth = block + 16;
  const uint8_t* nibbles = fifth + (kBits == 5 ? 32 : 0) + j / 2 * 32;
  for (int i = 0; i < kGroup; ++i) {
    int code = j % 2 == 0 ? nibbles[i] & 15 : nibbles[i] >> 4;
    if (kBits == 5) code |= ((fifth[i] >> j) & 1) << 4;
    group.codes[i] = static_cast<uint8_t>(code);
  }
}

// Group j of a q6_k super-block: 128 bytes of low nibbles, 64 of bit pairs, 16 scales, half.
void ReadQ6K(const uint8_t* block, int j, Group& group) {
  const int part = j % 4;
  const uint8_t* low = block + j / 4 * 64 + part % 2 * 32;
  const uint8_t* high = block + 128 + j / 4 * 32;
  for (int i = 0; i < kGroup; ++i) {
    const int nibble = part < 2 ? low[i] & 15 : low[i] >> 4;
    group.codes[i] = static_cast<uint8_t>(nibble | (((high[i] >> (2 * part)) & 3) << 4));
  }
  std::memcpy(group.scales, block + 192 + 2 * j, 2);
  group.half_scale = Half(block + 208);
}

// The four codes of a quad, a byte each.
uint32_t Quad(const uint8_t* codes, int quad) {
  uint32_t word;
  std::memcpy(&word, codes + 4 * quad, sizeof(word));
  return word;
}

// Four codes at a time; shifts never carry from one byte into the next.
template <int kBits>
void WriteCodes(const uint8_t* codes, int lane, uint8_t* out) {
  constexpr int kLine = 4 * kPanelWidth;
  const auto write = [&](int line, uint32_t word) {
    std::memcpy(out + line * kLine + 4 * lane, &word, sizeof(word));
  };
  if (kBits == 8) {
    for (int quad = 0; quad < kQuads; ++quad) write(quad, Quad(codes, quad));
    return;
  }
  uint32_t last = 0, pairs[2] = {};
  if (kBits < 4) {
    for (int quad = 0; quad < kQuads; ++quad) {
      const uint32_t word = Quad(codes, quad);
      pairs[quad / 4] |= (word & 0x03030303u) << (2 * (quad % 4));
      last |= (word >> 2 & 0x01010101u) << quad;
    }
    write(0, pairs[0]);
    write(1, pairs[1]);
    if (kBits == 3) write(2, last);
    return;
  }
  for (int quad = 0; quad < kQuads; quad += 2) {
    const uint32_t even = Quad(codes, quad), odd = Quad(codes, quad + 1);
    write(quad / 2, (even & 0x0f0f0f0fu) | (odd & 0x0f0f0f0fu) << 4);
    const uint32_t high_even = even >> 4 & 0x03030303u, high_odd = odd >> 4 & 0x03030303u;
    last |= high_even << quad | high_odd << (quad + 1);
    pairs[quad / 4] |= high_even << (2 * (quad % 4)) | high_odd << (2 * (quad % 4 + 1));
  }
  if (kBits == 5) write(4, last);
  if (kBits == 6) {
    write(4, pairs[0]);
    write(5, pairs[1]);
  }
}

void WriteHalf(uint16_t half, int lane, uint8_t* row) {
  std::memcpy(row + 2 * lane, &half, sizeof(half));
}

template <DType kType>
void WriteGroup(const Group& group, int lane, uint8_t* out) {
  constexpr QuantFormat format = kQuantFormat<kType>;
  if (format.super || format.log) {
    for (int s = 0; s < format.scales; ++s) out[s * kPanelWidth + lane] = group.scales[s];
    if (format.min_bytes() > 0) out[format.scale_bytes() + lane] = group.min;
  } else {
    WriteHalf(group.half_scale, lane, out);
    if (format.min) WriteHalf(group.half_min, lane, out + format.scale_bytes());
  }
  WriteCodes<format.bits>(group.codes, lane, out + format.scale_bytes() + format.min_bytes());
}

template <DType kType>
void PackRow(const uint8_t* block, int64_t in, int lane, uint8_t* panel) {
  constexpr QuantFormat format = kQuantFormat<kType>;
  const DTypeInfo& info = Info(kType);
  Group group = {};
  for (int64_t i = 0; i < in; i += info.block_length, block += info.block_bytes) {
    uint8_t* header = panel;
    panel += format.header_bytes();
    for (int j = 0; j < format.groups_per_record(); ++j, panel += format.group_bytes()) {
      if constexpr (format.log) {
        ReadLog<format.bits, format.moved>(block, group);
      } else if constexpr (!format.super) {
        ReadSmall<format.bits, format.min>(block, group);
      } else if constexpr (format.bits == 6) {
        ReadQ6K(block, j, group);
      } else {
        ReadQ45K<format.bits>(block, j, group);
      }
      WriteGroup<kType>(group, lane, panel);
    }
    if (!format.super) continue;
    WriteHalf(group.half_scale, lane, header);
    if (format.min) WriteHalf(group.half_min, lane, header + 2 * kPanelWidth);
  }
}

}  // namespace

// A function of its own for each type: one for all of them takes up to three times as long.
void PackBlockRow(DType type, const std::byte* blocks, int64_t in, int lane, uint8_t* panel) {
  WithQuantType(type, [&]<DType kType>() {
    PackRow<kType>(reinterpret_cast<const uint8_t*>(blocks), in, lane, panel);
  });
}

}  // namespace rondo
