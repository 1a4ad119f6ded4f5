// Quantised weights of random bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "rondo/tensor.h"

namespace rondo {

// Any bytes are codes; the halves among them become small numbers of either sign, scale bytes those
// from 2^-14 to 2^-6.
inline Tensor RandomBlocks(DType type, int64_t out, int64_t in, uint64_t seed) {
  Rng rng(seed);
  const DTypeInfo& info = Info(type);
  std::vector<std::byte> bytes(StorageBytes(type, {out, in}));
  for (std::byte& b : bytes) b = std::byte(rng.Next() & 255);
  const auto half = [&](size_t at) {
    const auto bits = static_cast<uint16_t>((rng.Next() & 0x8fff) + 0x1400);  // 2^-10 … 2^-6
    std::memcpy(bytes.data() + at, &bits, 2);
  };
  const bool min = type != DType::kQ8_0 && type != DType::kQ4_0 && type != DType::kQ5_0;
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(info.block_bytes)) {
    if (OnlyRondoReads(type)) {
      bytes[at] = std::byte(80 + rng.Next() % 64);
      continue;
    }
    half(type == DType::kQ6_K ? at + 208 : at);
    if (min && type != DType::kQ6_K) half(at + 2);
  }
  return Tensor::FromBytes(type, {out, in}, std::move(bytes));
}

}  // namespace rondo
