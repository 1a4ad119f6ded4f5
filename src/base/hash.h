// Hashes of 64 bits, the same on every little-endian machine. Token shards and their names hold
// them, so the functions must never change. Not against malice.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace rondo {

inline uint64_t MixHash(uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93u;
  x ^= x >> 32;
  return x;
}

inline uint64_t HashText(std::string_view text) {
  uint64_t hash = text.size() * 0x9e3779b97f4a7c15u;
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    hash = MixHash(hash ^ word) + 0x9e3779b97f4a7c15u;
  }
  uint64_t word = 0;
  std::memcpy(&word, text.data() + i, text.size() - i);
  return MixHash(hash ^ word);
}

// A hash of what `hash` stands for followed by `value`.
inline uint64_t CombineHash(uint64_t hash, uint64_t value) {
  return MixHash((hash + 0x9e3779b97f4a7c15u) ^ MixHash(value + 0x9e3779b97f4a7c15u));
}

}  // namespace rondo
