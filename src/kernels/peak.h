// The machine's own limits, for benchmarks and `rondo doctor` to compare with. Each loop runs on
// the calling thread with the instruction set in use; time it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rondo {

// `steps` rounds of independent f32 multiply-adds in registers; returns the floating-point
// operations done.
double MultiplyAddLoop(int64_t steps);

// The same for products of weight codes of 2 to 6 (unsigned) or 8 bits (signed) with signed 8-bit
// activations, summed in 32 bits over groups of 32; returns the operations done, two a product.
// Narrow codes are faster where their products can first be summed in 16 bits.
double Int8Loop(int bits, int64_t steps);

// Reads `bytes` of memory, a multiple of 256, aligned to 64.
void ReadLoop(const std::byte* memory, int64_t bytes);

}  // namespace rondo
