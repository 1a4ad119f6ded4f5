// Rounding in the loop: while a model trains, its forward pass sees weights as they will be stored,
// in blocks of 32 with a learned scale and, in some types, a learned offset (LSQ: Esser et al.,
// "Learned step size quantization", 2020; LSQ+: Bhalgat et al. 2020).
//
//   d = stored(scale), m = stored(offset)
//   t = (weight − m) / d − center
//   rounded = d · (clamp(round(t)) + center) + m
//
// Weights, scales and offsets are trained as f32; `stored` is what the type keeps of them.
// Gradients go straight through both roundings.
#pragma once

#include <cstdint>

#include "rondo/tensor.h"

namespace rondo {

inline constexpr int kRoundBlock = 32;

// What is kept of a scale: f16, or the byte of tensor/log_scale.h.
enum class StoredScale { kHalf, kLog };
// What is kept of an offset: nothing, f16, or a byte of 1/32 steps.
enum class StoredOffset { kNone, kHalf, kSteps };

// How a type stores a block.
struct RoundFormat {
  DType dtype;
  int lowest, highest;  // codes
  float center;         // added to codes
  StoredScale scale;
  StoredOffset offset;
  bool HasOffset() const { return offset != StoredOffset::kNone; }
};

// Null: the type's scales cannot be learned.
const RoundFormat* FindRoundFormat(DType dtype);

// The arrays of `blocks` blocks.
struct RoundBlocksInput {
  const float* weight = nullptr;  // [blocks, 32]
  const float* scale = nullptr;   // [blocks]
  const float* offset = nullptr;  // [blocks]; null where the format has none
};

// rounded[blocks, 32].
void RoundBlocks(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                 float* rounded);

// Replaces grad[blocks, 32], of the rounded values, by that of the weights, and writes those of
// scales and offsets. The slope of a value is
//   inside the range of codes: 1 by the weight, round(t) − t by the scale, 0 by the offset;
//   beyond it: 0, the code + center, 1; a gradient that would bring the weight back counts for it.
// `doffset` may be null as `in.offset` may.
void RoundBlocksBackward(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                         float* grad, float* dscale, float* doffset);

// codes[blocks, 32], the stored scales [blocks], and the values [blocks] of code 0.
void RoundToCodes(const RoundFormat& format, int64_t blocks, const RoundBlocksInput& in,
                  int16_t* codes, float* scale, float* base);

}  // namespace rondo
