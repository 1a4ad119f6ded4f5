// Runs a test once on every instruction set that this machine can execute.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/simd_targets.h"

namespace rondo {

class KernelTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { Use(GetParam()); }
  void TearDown() override { Use(0); }

  static void Use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// What the kernels are compiled for, and the CPU has.
inline std::vector<int64_t> KernelTargets() {
  std::vector<int64_t> targets;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) targets.push_back(target);
  return targets;
}

inline std::string TargetLabel(const testing::TestParamInfo<int64_t>& target) {
  return hwy::TargetName(target.param);
}

#define RONDO_KERNEL_TEST(suite) \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, testing::ValuesIn(KernelTargets()), TargetLabel)

inline std::vector<float> RandomFloats(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(rng.Normal());
  return values;
}

}  // namespace rondo
