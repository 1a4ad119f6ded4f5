// The machine's own limit, for benchmarks and `rondo doctor` to compare with.
#pragma once

#include <cstdint>

namespace rondo {

// Runs `steps` rounds of independent multiply-adds in registers on the calling thread; returns the
// floating-point operations done. Time it.
double MultiplyAddLoop(int64_t steps);

}  // namespace rondo
