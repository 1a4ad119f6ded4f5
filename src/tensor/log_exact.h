// Blocks of values that q2_0, q2_1, q3_0 or q3_1 can store as they are.
#pragma once

#include <cstdint>

#include "tensor/log_scale.h"

namespace rondo {

// A quick look at the extremes of a block: false for nearly all that FindExact() would refuse.
bool MayBeExact(const LogFormat& format, float low, float high);

// The scale code and offset whose codes give the values x [32], or for 32 equal values those that
// come nearest. Returns false and changes nothing where there are none.
bool FindExact(const LogFormat& format, const float* x, uint8_t* scale, int* offset);

}  // namespace rondo
