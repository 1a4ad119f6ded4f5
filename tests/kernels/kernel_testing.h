// Runs a test once on every instruction set that this machine can execute.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul.h"
#include "kernels/simd_targets.h"
#include "rondo/thread_pool.h"

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

// x [rows, in] times w, into memory that held something else.
inline std::vector<float> Multiply(const PackedMatrix& w, std::span<const float> x, int64_t rows,
                                   int threads) {
  ThreadPool pool(threads);
  std::vector<float> y(static_cast<size_t>(rows * w.out()), -7.0f);
  MatMul(w, x.data(), rows, y.data(), /*accumulate=*/false, pool);
  return y;
}

}  // namespace rondo
