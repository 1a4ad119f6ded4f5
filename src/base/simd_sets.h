// The instruction sets for which vector code is compiled: those that change lane count or add fused
// multiply-add, as others give no other code. Scalable vectors are left out because code keeps
// arrays of vectors. The portable set has one lane; newer compilers would get Highway's emulated
// vectors of 128 bits in its place. Include before Highway's headers.
#pragma once

#define HWY_BROKEN_EMU128 1
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
