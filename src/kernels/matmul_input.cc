#include "kernels/matmul_input.h"

#include <algorithm>
#include <cmath>

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

HWY_INLINE void QuantizeBlock(const float* HWY_RESTRICT x, InputBlock* HWY_RESTRICT block) {
  const PanelTag d;
  const hn::RebindToSigned<PanelTag> di;
  const hn::Rebind<int8_t, PanelTag> d8;
  PanelVec values[kGroupVecs];
  PanelVec max = hn::Zero(d), poison = hn::Zero(d);
  for (int v = 0; v < kGroupVecs; ++v) {
    values[v] = hn::LoadU(d, x + v * kPanelLanes);
    max = hn::Max(max, hn::Abs(values[v]));
    // 0 · x is NaN for what is not finite, which Max may swallow.
    poison = hn::Add(poison, hn::Mul(hn::Zero(d), values[v]));
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, max));
  const float inverse = largest > kSmallest ? 127 / largest : 0;
  const PanelVec factor = hn::Set(d, inverse);
  auto low = hn::Zero(di), high = hn::Zero(di);
  for (int v = 0; v < kGroupVecs; ++v) {
    const PanelVec rounded = hn::Add(hn::Mul(values[v], factor), hn::Set(d, kRounder));
    const auto codes = hn::Sub(hn::BitCast(di, rounded), hn::BitCast(di, hn::Set(d, kRounder)));
    (v < kGroupVecs / 2 ? low : high) = hn::Add(v < kGroupVecs / 2 ? low : high, codes);
    hn::StoreU(hn::DemoteTo(d8, codes), d8, block->codes + v * kPanelLanes);
  }
  block->half_sum = hn::GetLane(hn::SumOfLanes(di, low));
  block->sum = hn::GetLane(hn::SumOfLanes(di, hn::Add(low, high)));
  block->scale = inverse > 0 ? largest / 127 : 0;
  block->scale += hn::GetLane(hn::SumOfLanes(d, poison));
  block->scaled_sum = block->scale * static_cast<float>(block->sum);
}

void QuantizeRow(const float* x, int64_t width, InputBlock* blocks, int64_t stride) {
  for (int64_t i = 0; i < width; i += kGroup, blocks += stride) QuantizeBlock(x + i, blocks);
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "base/thread_pool.h"

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
