// Encoding of q2_0, q2_1, q3_0 and q3_1 (log_scale.h): scales searched for least squared error,
// many blocks at once, the same bytes on every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/log_scale.h"

namespace rondo {

// The scales worth a try for a block with these extremes: codes first, first − 1, … (count of
// them), of which those below 1 count as 1. Code 0 instead means that the block is as good as zero.
struct LogReach {
  int code;  // whose codes just span the values
  int first, count;
};
LogReach LogReachOf(const LogFormat& format, float low, float high);

// Blocks whose values a block can stand for exactly keep them. Throws for values that are not
// finite or beyond the largest scale.
void EncodeLogBlocks(const LogFormat& format, const float* values, int64_t blocks, std::byte* out);

}  // namespace rondo
