// The machine's own limit, for benchmarks and `rondo doctor` to compare with.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

// Runs `steps` rounds of independent multiply-adds in registers on the calling thread; returns the
// floating-point operations done. Time it.
double MultiplyAddLoop(int64_t steps);

// The instruction set the kernels use on this machine, as Highway names it ("AVX2").
std::string KernelTarget();

}  // namespace rondo
