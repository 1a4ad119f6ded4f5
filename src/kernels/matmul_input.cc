#include "kernels/matmul_input.h"

#include <bit>

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul_input.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

constexpr int kGroupVecs = kGroup / kPanelLanes;

// Adding 1.5 · 2^23 rounds to nearest even and leaves the integer in the low bits, the same on
// every instruction set.
constexpr float kRounder = 12582912.0f;

// Blocks whose largest value is below this are zeros: its reciprocal must stay finite.
constexpr float kSmallest = 0x1p-100f;

// Integers in -127 … 127 as bytes.
using CodeVec = hn::Vec<hn::RebindToSigned<PanelTag>>;
HWY_INLINE void StoreCodes(const CodeVec (&codes)[kGroupVecs], int8_t* out) {
#if HWY_TARGET == HWY_AVX2
  // Packing works on halves; the permutation puts fours of bytes back into order.
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(codes[0].raw, codes[1].raw),
                                           _mm256_packs_epi32(codes[2].raw, codes[3].raw));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), ordered);
#else
  const hn::Rebind<int8_t, PanelTag> d8;
  for (int v = 0; v < kGroupVecs; ++v) {
    hn::StoreU(hn::DemoteTo(d8, codes[v]), d8, out + v * kPanelLanes);
  }
#endif
}

HWY_INLINE void QuantizeBlock(const float* HWY_RESTRICT x, InputBlock* HWY_RESTRICT block) {
  const PanelTag d;
  const hn::RebindToSigned<PanelTag> di;
  PanelVec values[kGroupVecs];
  auto max = hn::Zero(di);
  for (int v = 0; v < kGroupVecs; ++v) {
    values[v] = hn::LoadU(d, x + v * kPanelLanes);
    max = hn::Max(max, hn::BitCast(di, hn::Abs(values[v])));
  }
  // Magnitudes order as their bits do, infinity and NaN last, so that these are not lost.
  const float largest = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, max)));
  const float inverse = largest > kSmallest ? 127 / largest : 0;
  const PanelVec factor = hn::Set(d, inverse);
  auto low = hn::Zero(di), high = hn::Zero(di);
  hn::Vec<decltype(di)> codes[kGroupVecs];
  for (int v = 0; v < kGroupVecs; ++v) {
    const PanelVec rounded = hn::Add(hn::Mul(values[v], factor), hn::Set(d, kRounder));
    codes[v] = hn::Sub(hn::BitCast(di, rounded), hn::BitCast(di, hn::Set(d, kRounder)));
    auto& half = v < kGroupVecs / 2 ? low : high;
    half = hn::Add(half, codes[v]);
  }
  StoreCodes(codes, block->codes);
  block->half_sum = hn::GetLane(hn::SumOfLanes(di, low));
  block->sum = hn::GetLane(hn::SumOfLanes(di, hn::Add(low, high)));
  // 0 for what is too small; NaN where a value is infinite or NaN.
  block->scale = inverse > 0 ? largest / 127 : largest * 0;
  block->scaled_sum = block->scale * static_cast<float>(block->sum);
}

void QuantizeRow(const float* x, int64_t width, InputBlock* blocks, int64_t stride) {
  for (int64_t i = 0; i < width; i += kGroup, blocks += stride) QuantizeBlock(x + i, blocks);
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "rondo/thread_pool.h"

namespace rondo {
HWY_EXPORT(QuantizeRow);

namespace {

constexpr int64_t kInlineValues = 16 * 1024;  // fewer cost less than waking threads

}  // namespace

void MatMulInput::Set(const float* x, int64_t rows, int64_t width) {
  x_ = x;
  rows_ = rows;
  width_ = width;
  quantised_ = false;
}

const InputBlock* MatMulInput::Blocks(ThreadPool& pool) const {
  auto* blocks = blocks_.as<InputBlock>();
  if (quantised_) return blocks;
  const auto bytes = static_cast<uint64_t>(rows_ * (width_ / kGroup)) * sizeof(InputBlock);
  if (blocks_.bytes() < bytes) {
    blocks_ = AlignedBuffer(bytes);
    blocks = blocks_.as<InputBlock>();
  }
  const auto row = [&](int64_t r) {
    HWY_DYNAMIC_DISPATCH(QuantizeRow)(x_ + r * width_, width_, blocks + r, rows_);
  };
  if (rows_ * width_ < kInlineValues) {
    for (int64_t r = 0; r < rows_; ++r) row(r);
  } else {
    const auto range = [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) row(r);
    };
    pool.ParallelRanges(rows_, 1, std::cref(range));
  }
  quantised_ = true;
  return blocks;
}

}  // namespace rondo
#endif  // HWY_ONCE
