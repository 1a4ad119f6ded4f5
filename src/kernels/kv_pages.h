// Keys and values of a sequence, in pages of 64 positions.
//
// A page holds all depths of its positions; what lies inside it for one depth and head:
//   keys   [64/16][head_dim][16 positions]
//   values [head_dim/16][64][16 elements]
//   scales [2][64] f32, of keys and of values          (int8 only)
// so that both products of attention run on the tile kernel of MatMul.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "rondo/kv_type.h"

namespace rondo {

inline constexpr int kPagePositions = 64;
inline constexpr int64_t PagesFor(int64_t positions) {
  return positions / kPagePositions + (positions % kPagePositions > 0 ? 1 : 0);
}

// The layout of one depth in a page.
struct KvLayout {
  int kv_heads = 0;
  int head_dim = 0;
  KvType type = KvType::kF32;

  // Bytes of a head and of all heads; a multiple of 64. Throws when the size overflows.
  uint64_t head_bytes() const;
  uint64_t depth_bytes() const;
  // Offsets inside a head.
  uint64_t values_offset() const;
  uint64_t scales_offset() const;
};

// One sequence at one depth: page i holds positions 64·i to 64·i + 63.
struct KvView {
  KvLayout layout;
  std::span<std::byte* const> pages;
  uint64_t offset = 0;  // of the depth in each page

  std::byte* Head(int64_t page, int kv_head) const {
    return pages[static_cast<size_t>(page)] + offset +
           static_cast<uint64_t>(kv_head) * layout.head_bytes();
  }
};

// Stores key and value [kv_heads, head_dim] of a position inside the pages.
void StoreKv(const KvView& view, int position, const float* key, const float* value);
// Copies what `from` holds for positions [first, first + count) to `to`; both share the pages'
// form.
void CopyKv(const KvView& from, const KvView& to, int first, int count);

}  // namespace rondo
