// Instruction sets that the kernels are compiled for: the steps that change lane count or add fused
// multiply-add. Others give no other code for f32. Scalable vectors are left out because tiles keep
// arrays of vectors. Include before any other Highway header.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include "hwy/targets.h"  // IWYU pragma: export
