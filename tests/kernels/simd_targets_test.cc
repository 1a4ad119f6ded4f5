#include "kernels/simd_targets.h"

#include <gmock/gmock.h>

#include "kernels/kernel_testing.h"
#include "rondo/error.h"

namespace rondo {
namespace {

class SimdTargetTest : public KernelTest {};

TEST_P(SimdTargetTest, IsTheOneForced) { EXPECT_EQ(KernelTarget(), GetParam()); }

RONDO_KERNEL_TEST(SimdTargetTest);

TEST(SimdTargets, AutoIsTheFirst) {
  SetKernelTarget(KernelTargets().back());
  SetKernelTarget("auto");
  EXPECT_EQ(KernelTarget(), KernelTargets().front());
}

TEST(SimdTargets, AnUnknownOneIsRefusedWithTheChoices) {
  try {
    SetKernelTarget("mmx");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("'mmx'"));
    for (const std::string& name : KernelTargets()) {
      EXPECT_THAT(error.what(), testing::HasSubstr(name));
    }
  }
}

}  // namespace
}  // namespace rondo
