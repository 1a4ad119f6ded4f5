// The grid of a block as its type stores it.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/grad/round_blocks.h"
#include "tensor/float_convert.h"
#include "tensor/log_scale.h"

namespace rondo {

struct StoredGrid {
  float scale, inverse, offset, shift;  // value = scale · (code + shift) + offset
};

inline float StoredHalf(float value) {
  constexpr float kLargest = 65504;
  return F32FromF16(F16FromF32(std::clamp(value, -kLargest, kLargest)));
}

inline float StoredScaleOf(StoredScale kind, float scale) {
  return kind == StoredScale::kHalf ? StoredHalf(scale) : kLogScales[NearestLogScale(scale)];
}

inline StoredGrid StoredGridOf(const RoundFormat& format, const RoundBlocksInput& in,
                               int64_t block) {
  constexpr float kSteps = 32, kLowest = -128, kHighest = 127;
  StoredGrid grid = {.scale = StoredScaleOf(format.scale, in.scale[block]),
                     .inverse = 0,  // of a scale of 0: every value is the offset
                     .offset = 0,
                     .shift = format.center};
  if (std::isfinite(1 / grid.scale)) grid.inverse = 1 / grid.scale;
  if (format.offset == StoredOffset::kHalf) grid.offset = StoredHalf(in.offset[block]);
  if (format.offset == StoredOffset::kSteps) {
    const float steps = std::nearbyint(kSteps * (in.offset[block] * grid.inverse));
    grid.shift += std::clamp(steps, kLowest, kHighest) / kSteps;
  }
  return grid;
}

}  // namespace rondo
