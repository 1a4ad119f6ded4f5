#include "kernels/log_softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_testing.h"
#include "kernels/reference.h"

namespace rondo {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kEps = 0x1p-24;  // unit roundoff of f32

// Around every lane count, and beyond a block of the sums.
const std::vector<int64_t> kWidths = {1,  2,  3,  4,  5,  7,   8,    9,    15,
                                      16, 17, 31, 33, 65, 577, 2047, 2049, 50257};

// Each exponential is off by 4 ε at most, and a block adds up to 512 of them to a lane in f32.
double Tolerance(int64_t width) {
  return kEps * (8 + static_cast<double>(std::min<int64_t>(width, 512)));
}

std::vector<float> Wide(int64_t width) {
  std::vector<float> x = RandomFloats(width, static_cast<uint64_t>(width));
  for (float& value : x) value *= 5;
  return x;
}

class LogSoftmaxTest : public KernelTest {};

TEST_P(LogSoftmaxTest, SumEqualsItsDefinition) {
  for (const int64_t width : kWidths) {
    const std::vector<float> x = Wide(width);
    EXPECT_NEAR(LogSumExp(x), reference::LogSumExp(x), Tolerance(width)) << width;
  }
  EXPECT_EQ(LogSumExp({}), -kInfinity);
}

TEST_P(LogSoftmaxTest, SumSurvivesLargeValues) {
  EXPECT_NEAR(LogSumExp(std::vector<float>{0.0f, std::log(3.0f)}), std::log(4.0), 2 * kEps);
  EXPECT_NEAR(LogSumExp(std::vector<float>{1000.0f, 1000.0f}), 1000 + std::log(2.0), 1e-9);
  EXPECT_NEAR(LogSumExp(std::vector<float>(33, -3e38f)), -3e38, 1e31);
  EXPECT_EQ(LogSumExp(std::vector<float>{3e38f, -3e38f}), 3e38f);
}

// Wherever in the row it stands, in a whole vector or behind the last one.
TEST_P(LogSoftmaxTest, InfinitiesAndNansComeThrough) {
  for (const int64_t width : {1, 2, 16, 17, 40}) {
    for (int64_t at = 0; at < width; ++at) {
      SCOPED_TRACE(testing::Message() << at << " of " << width);
      std::vector<float> x = Wide(width);
      const auto set = [&](float value) { x[static_cast<size_t>(at)] = value; };
      if (width > 1) {
        set(-kInfinity);
        EXPECT_NEAR(LogSumExp(x), reference::LogSumExp(x), Tolerance(width)) << "one";
      }
      set(kInfinity);
      EXPECT_EQ(LogSumExp(x), kInfinity);
      set(kNan);
      EXPECT_TRUE(std::isnan(LogSumExp(x)));
      x.assign(x.size(), -kInfinity);
      EXPECT_EQ(LogSumExp(x), -kInfinity);
      set(kNan);
      EXPECT_TRUE(std::isnan(LogSumExp(x)));
      set(2.5f);
      EXPECT_EQ(LogSumExp(x), 2.5);
    }
  }
}

TEST_P(LogSoftmaxTest, RowsBecomeLogProbabilities) {
  for (const int64_t width : kWidths) {
    const int64_t rows = width > 3000 ? 2 : 5;
    const std::vector<float> x = Wide(rows * width);
    std::vector<float> log_p = x;
    LogSoftmax(log_p, width);
    for (int64_t r = 0; r < rows; ++r) {
      const std::span<const float> row =
          std::span(x).subspan(static_cast<size_t>(r * width), static_cast<size_t>(width));
      const double sum = reference::LogSumExp(row);
      for (int64_t i = 0; i < width; ++i) {
        // Two differences of values up to 50 round besides.
        ASSERT_NEAR(log_p[static_cast<size_t>(r * width + i)], row[static_cast<size_t>(i)] - sum,
                    Tolerance(width) + 100 * kEps)
            << i << " of " << width;
      }
    }
  }
}

TEST_P(LogSoftmaxTest, RowsWithoutAProbabilityStayOrSaySo) {
  for (const size_t width : {2u, 16u, 19u}) {
    std::vector<float> x(2 * width, -kInfinity);
    x[width + 1] = 7;
    LogSoftmax(x, static_cast<int64_t>(width));
    for (size_t i = 0; i < 2 * width; ++i) EXPECT_EQ(x[i], i == width + 1 ? 0 : -kInfinity);
    for (const float bad : {kInfinity, kNan}) {
      x.assign(width, 1);
      x.back() = bad;
      LogSoftmax(x, static_cast<int64_t>(width));
      for (const float value : x) EXPECT_TRUE(std::isnan(value));
    }
  }
}

// Large values lose no digits of the small differences between them.
TEST_P(LogSoftmaxTest, LargeValuesKeepTheirDifferences) {
  std::vector<float> x(24, 4096.0f);
  x[3] = 4096.5f;
  const double sum = std::log(23 + std::exp(0.5));
  LogSoftmax(x, 24);
  EXPECT_NEAR(x[0], -sum, 4 * kEps * sum);
  EXPECT_NEAR(x[3], 0.5 - sum, 4 * kEps * sum);
}

TEST_P(LogSoftmaxTest, CertaintyEqualsItsDefinition) {
  for (const int64_t width : kWidths) {
    std::vector<float> x = Wide(width);
    if (width > 4) x[2] = -kInfinity;
    const double sum = reference::LogSumExp(x);
    double largest = 0, entropy = 0;
    for (const float value : x) {
      const double p = std::exp(value - sum);
      largest = std::max(largest, p);
      if (p > 0) entropy -= p * (value - sum);
    }
    const Certainty found = CertaintyOf(x);
    EXPECT_NEAR(found.confidence, largest, Tolerance(width)) << width;
    EXPECT_NEAR(found.entropy, entropy, 50 * Tolerance(width)) << width;
  }
}

TEST(LogAdd, AddsProbabilities) {
  EXPECT_NEAR(LogAdd(std::log(0.25), std::log(0.5)), std::log(0.75), 1e-15);
  EXPECT_NEAR(LogAdd(std::log(0.5), std::log(0.25)), std::log(0.75), 1e-15);
  EXPECT_EQ(LogAdd(-kInfinity, -2.0), -2);
  EXPECT_EQ(LogAdd(-2.0, -kInfinity), -2);
  EXPECT_EQ(LogAdd(-kInfinity, -kInfinity), -kInfinity);
  EXPECT_EQ(LogAdd(1e5, -1e5), 1e5);
}

RONDO_KERNEL_TEST(LogSoftmaxTest);

}  // namespace
}  // namespace rondo
