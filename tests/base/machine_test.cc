#include "base/machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace rondo {
namespace {

TEST(Machine, CachesAreSmallerThanMemoryAndGrowWithTheLevel) {
  const int64_t l1 = DataCacheBytes(1), l2 = DataCacheBytes(2), l3 = DataCacheBytes(3);
  if (l2 > 0) {
    EXPECT_LT(l1, l2);
  }
  if (l3 > 0) {
    EXPECT_LT(l2, l3);
  }
  EXPECT_LT(std::max({l1, l2, l3}), PhysicalMemoryBytes());
}

TEST(Machine, ProcessorHasANameOnOneLine) {
  const std::string name = CpuModel();
  EXPECT_FALSE(name.empty());
  EXPECT_EQ(name.find('\n'), std::string::npos);
  EXPECT_EQ(name.find(':'), std::string::npos);
}

TEST(Machine, PeakMemoryGrowsByWhatIsTouched) {
  const int64_t before = PeakMemoryBytes();
  ASSERT_GT(before, 0);
  // As much again as all memory before: what was freed since cannot make room for it.
  const std::vector<char> touched(static_cast<size_t>(2 * before), 'x');
  EXPECT_GE(PeakMemoryBytes(), 2 * before);
  EXPECT_LT(PeakMemoryBytes(), PhysicalMemoryBytes());
  EXPECT_EQ(touched.back(), 'x');
}

}  // namespace
}  // namespace rondo
