// Instruction sets of the kernels (base/simd_sets.h). Include before other Highway headers.
//
//   SetKernelTarget("avx2");          // whatever better the CPU has
//   KernelTarget();                   // "avx2"
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/simd_sets.h"  // IWYU pragma: keep
#include "hwy/targets.h"     // IWYU pragma: export

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
