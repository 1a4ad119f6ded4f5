// Instruction sets of the kernels: those that change lane count or add fused multiply-add, as
// others give no other code. Scalable vectors are left out because tiles keep arrays of vectors.
// The portable set has one lane; newer compilers would get Highway's emulated vectors of 128 bits
// in its place, for which the kernels have no dot product. Include before other Highway headers.
//
//   SetKernelTarget("avx2");          // whatever better the CPU has
//   KernelTarget();                   // "avx2"
#pragma once

#define HWY_BROKEN_EMU128 1
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include <string>
#include <string_view>
#include <vector>

#include "hwy/targets.h"  // IWYU pragma: export

namespace rondo {

// Names of the sets compiled in that this CPU has, best first, of: avx512-vnni, avx512, avx2, sse4,
// neon, portable.
std::vector<std::string> KernelTargets();

// The one in use.
std::string KernelTarget();

// Runs all kernels from now on with `name`, or with the best for "auto". Not while kernels run.
// Throws rondo::Error listing KernelTargets() for any other name.
void SetKernelTarget(std::string_view name);

// Whether AVX-512 kernels may use its VNNI part.
bool UseVnni();

}  // namespace rondo
