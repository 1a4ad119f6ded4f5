// Decoding of GGUF's quantised blocks to f32, one row at a time. Layouts: ggml's block formats
// and those of log_scale.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rondo/tensor.h"

namespace rondo {

// Decodes `count` elements (a multiple of the block length) of a quantised type.
void DecodeBlocks(DType dtype, const std::byte* blocks, int64_t count, float* out);

}  // namespace rondo
