// Hashes of 64 bits, the same on every machine. Token shards, checkpoints and files of interrupted
// evaluations hold them: with another function their formats get a new version. Not against malice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace rondo {

// XXH3 of the bytes.
uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed = 0);
uint64_t HashText(std::string_view text);

// Mixes the bits of a number, one to one.
inline uint64_t MixHash(uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93u;
  x ^= x >> 32;
  return x;
}

// A hash of what `hash` stands for followed by `value`. The orders of data and the random draws of
// training follow from it, so that a run goes on as it began.
inline uint64_t CombineHash(uint64_t hash, uint64_t value) {
  return MixHash((hash + 0x9e3779b97f4a7c15u) ^ MixHash(value + 0x9e3779b97f4a7c15u));
}

}  // namespace rondo
