// Encoding of f32 values as quantised blocks, round to nearest.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rondo/tensor.h"

namespace rondo {

// Encodes `count` values (a multiple of the block length) of a quantised type. q8_0, q4_0, q4_1,
// q5_0 and q5_1 give the bytes of ggml's reference; the K types, q2 and q3 choose scales of least
// squared error by a search of their own. Values of q2_0 to q3_1 that were decoded before keep
// their values. Throws for values that are not finite or too large for the scales.
void EncodeBlocks(DType dtype, const float* values, int64_t count, std::byte* out);

}  // namespace rondo
