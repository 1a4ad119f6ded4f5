// A pseudo-random order of 0 … size - 1 that needs no memory: a Feistel network on the next even
// number of bits, walked until it falls below size (Black and Rogaway, "Ciphers with arbitrary
// finite domains", CT-RSA 2002). The order is part of what a resumed run repeats: never change it.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/hash.h"

namespace rondo {

class Permutation {
 public:
  // `size` is at least 1.
  Permutation(uint64_t size, uint64_t seed)
      : size_(size), half_bits_((std::bit_width(size - 1) + 1) / 2) {
    for (size_t i = 0; i < keys_.size(); ++i) keys_[i] = CombineHash(seed, i);
  }

  // The number at `index` < size.
  uint64_t operator()(uint64_t index) const {
    do index = Encrypt(index);
    while (index >= size_);
    return index;
  }

 private:
  uint64_t Encrypt(uint64_t value) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = value >> half_bits_, right = value & mask;
    for (const uint64_t key : keys_) {
      const uint64_t next = left ^ (CombineHash(key, right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t size_;
  int half_bits_;
  std::array<uint64_t, 6> keys_;
};

}  // namespace rondo
