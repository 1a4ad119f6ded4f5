#include "kernels/grad/round_blocks.h"

#include <algorithm>
#include <cmath>

#include "kernels/grad/stored_grid.h"
#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grad/round_blocks.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Products and sums are rounded apart, as the decoders of blocks do.
struct GridVecs {
  PanelVec scale, inverse, offset, shift;
  HWY_INLINE explicit GridVecs(const StoredGrid& grid) {
    const PanelTag d;
    scale = hn::Set(d, grid.scale);
    inverse = hn::Set(d, grid.inverse);
    offset = hn::Set(d, grid.offset);
    shift = hn::Set(d, grid.shift);
  }
  HWY_INLINE PanelVec Position(PanelVec weight) const {
    return hn::Sub(hn::Mul(hn::Sub(weight, offset), inverse), shift);
  }
  HWY_INLINE PanelVec Value(PanelVec code) const {
    return hn::Add(hn::Mul(hn::Add(code, shift), scale), offset);
  }
};

HWY_INLINE PanelVec CodeOf(PanelVec position, PanelVec lowest, PanelVec highest) {
  return hn::Round(hn::Min(hn::Max(position, lowest), highest));
}

void RoundRange(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                float* rounded) {
  const PanelTag d;
  const PanelVec lowest = hn::Set(d, static_cast<float>(format.lowest));
  const PanelVec highest = hn::Set(d, static_cast<float>(format.highest));
  for (int64_t block = 0; block < blocks; ++block) {
    const GridVecs grid(StoredGridOf(format, in, block));
    const float* weight = in.weight + block * kRoundBlock;
    float* out = rounded + block * kRoundBlock;
    for (int i = 0; i < kRoundBlock; i += kPanelLanes) {
      const PanelVec position = grid.Position(hn::LoadU(d, weight + i));
      hn::StoreU(grid.Value(CodeOf(position, lowest, highest)), d, out + i);
    }
  }
}

void RoundBackwardRange(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                        float* grad, float* dscale, float* doffset) {
  const PanelTag d;
  const PanelVec lowest = hn::Set(d, static_cast<float>(format.lowest));
  const PanelVec highest = hn::Set(d, static_cast<float>(format.highest));
  const PanelVec half = hn::Set(d, 0.5f), zero = hn::Zero(d);
  const PanelVec below = hn::Sub(lowest, half), above = hn::Add(highest, half);
  const PanelVec center = hn::Set(d, format.center);
  for (int64_t block = 0; block < blocks; ++block) {
    const StoredGrid stored = StoredGridOf(format, in, block);
    const GridVecs grid(stored);
    // The sign of a step of codes in weights.
    const PanelVec sign = hn::Set(d, stored.scale < 0 ? -1.0f : 1.0f);
    const float* weight = in.weight + block * kRoundBlock;
    float* g = grad + block * kRoundBlock;
    LaneSums scale_sums, offset_sums;
    for (int i = 0; i < kRoundBlock; i += kPanelLanes) {
      const int chain = i / kPanelLanes % kPanelVecs;
      const PanelVec position = grid.Position(hn::LoadU(d, weight + i));
      const PanelVec code = CodeOf(position, lowest, highest);
      const PanelVec slope = hn::LoadU(d, g + i);
      const auto low = hn::Lt(position, below), high = hn::Gt(position, above);
      const auto outside = hn::Or(low, high);
      const PanelVec by_scale =
          hn::IfThenElse(outside, hn::Add(code, center), hn::Sub(code, position));
      scale_sums.vecs[chain] = hn::MulAdd(slope, by_scale, scale_sums.vecs[chain]);
      offset_sums.vecs[chain] =
          hn::Add(offset_sums.vecs[chain], hn::IfThenElseZero(outside, slope));
      // A step against the gradient leads back: up from below, down from above.
      const PanelVec uphill = hn::Mul(slope, sign);
      const auto away =
          hn::Or(hn::And(low, hn::Gt(uphill, zero)), hn::And(high, hn::Lt(uphill, zero)));
      hn::StoreU(hn::IfThenZeroElse(away, slope), d, g + i);
    }
    dscale[block] = scale_sums.Total();
    if (doffset != nullptr) doffset[block] = offset_sums.Total();
  }
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RoundRange);
HWY_EXPORT(RoundBackwardRange);

const RoundFormat* FindRoundFormat(DType dtype) {
  using Scale = StoredScale;
  using Offset = StoredOffset;
  static constexpr RoundFormat kFormats[] = {
      {DType::kQ2_0, 0, 3, -1.5f, Scale::kLog, Offset::kNone},
      {DType::kQ2_1, 0, 3, -1.5f, Scale::kLog, Offset::kSteps},
      {DType::kQ3_0, 0, 7, -3.5f, Scale::kLog, Offset::kNone},
      {DType::kQ3_1, 0, 7, -3.5f, Scale::kLog, Offset::kSteps},
      {DType::kQ8_0, -127, 127, 0, Scale::kHalf, Offset::kNone},
      {DType::kQ5_0, -16, 15, 0, Scale::kHalf, Offset::kNone},
      {DType::kQ5_1, 0, 31, 0, Scale::kHalf, Offset::kHalf},
      {DType::kQ4_0, -8, 7, 0, Scale::kHalf, Offset::kNone},
      {DType::kQ4_1, 0, 15, 0, Scale::kHalf, Offset::kHalf},
  };
  const auto* found = std::ranges::find(kFormats, dtype, &RoundFormat::dtype);
  return found == std::end(kFormats) ? nullptr : found;
}

void RoundBlocks(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                 float* rounded) {
  HWY_DYNAMIC_DISPATCH(RoundRange)(format, blocks, in, rounded);
}

void RoundBlocksBackward(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                         float* grad, float* dscale, float* doffset) {
  HWY_DYNAMIC_DISPATCH(RoundBackwardRange)(format, blocks, in, grad, dscale, doffset);
}

void RoundToCodes(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                  int16_t* codes, float* scale, float* base) {
  const auto lowest = static_cast<float>(format.lowest),
             highest = static_cast<float>(format.highest);
  for (int64_t block = 0; block < blocks; ++block) {
    const StoredGrid grid = StoredGridOf(format, in, block);
    for (int64_t i = block * kRoundBlock; i < (block + 1) * kRoundBlock; ++i) {
      const float position = (in.weight[i] - grid.offset) * grid.inverse - grid.shift;
      codes[i] = static_cast<int16_t>(std::nearbyint(std::clamp(position, lowest, highest)));
    }
    scale[block] = grid.scale;
    base[block] = grid.shift * grid.scale + grid.offset;
  }
}

}  // namespace rondo
#endif  // HWY_ONCE
