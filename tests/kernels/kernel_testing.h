// Runs a test once on every instruction set that this machine can execute.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/simd_targets.h"

namespace rondo {

class KernelTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { SetKernelTarget(GetParam()); }
  void TearDown() override { SetKernelTarget("auto"); }
};

inline std::string TargetLabel(const testing::TestParamInfo<std::string>& target) {
  std::string label = target.param;
  std::replace(label.begin(), label.end(), '-', '_');
  return label;
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
