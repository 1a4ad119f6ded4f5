#include "kernels/depthwise_conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/kernel_testing.h"
#include "kernels/reference.h"

namespace rondo {
namespace {

struct Problem {
  int64_t size, width, rows;
  std::vector<float> weight, bias, history, x;

  Problem(int64_t s, int64_t w, int64_t r)
      : size(s),
        width(w),
        rows(r),
        weight(RandomFloats(s * w, 1)),
        bias(RandomFloats(w, 2)),
        history(RandomFloats((s - 1) * w, 3)),
        x(RandomFloats(r * w, 4)) {}
  DepthwiseKernel kernel() const { return {weight.data(), bias.data(), size, width}; }
};

class DepthwiseConvTest : public KernelTest {};

// `size` products of two values below 4 round by ε of 16, and as many sums of them by ε of
// 16 · size at most.
TEST_P(DepthwiseConvTest, EqualsItsDefinition) {
  for (const int64_t size : {1, 3, 15, 31}) {
    for (const int64_t width : {1, 3, 4, 5, 8, 15, 16, 17, 33, 144}) {
      for (const int64_t rows : {1, 2, 40}) {
        const Problem p(size, width, rows);
        std::vector<float> y(p.x.size());
        DepthwiseConv(p.kernel(), p.history.data(), p.x.data(), 0, rows, y.data());
        const auto expected = reference::DepthwiseConv(p.weight, p.bias, p.history, p.x);
        const double limit = 0x1p-24 * 32 * static_cast<double>(size * size);
        for (size_t i = 0; i < y.size(); ++i) {
          ASSERT_NEAR(y[i], expected[i], limit) << size << " " << width << " " << rows << " " << i;
        }
      }
    }
  }
}

// To the same bits: what a stream computes is what the whole utterance gives.
TEST_P(DepthwiseConvTest, PiecesGiveWhatTheWholeGives) {
  for (const int64_t size : {1, 3, 15}) {
    for (const int64_t width : {5, 16, 37}) {
      constexpr int64_t kRows = 41;
      const Problem p(size, width, kRows);
      std::vector<float> whole(p.x.size()), pieces(p.x.size()), history = p.history;
      DepthwiseConv(p.kernel(), p.history.data(), p.x.data(), 0, kRows, whole.data());
      for (int64_t at = 0, count = 1; at < kRows; at += count, count = count * 2 % 19 + 1) {
        count = std::min(count, kRows - at);
        const float* x = p.x.data() + at * width;
        DepthwiseConv(p.kernel(), history.data(), x, 0, count, pieces.data() + at * width);
        KeepHistory(p.kernel(), x, count, history.data());
      }
      EXPECT_EQ(pieces, whole) << size << " " << width;
      std::vector<float> ranges(p.x.size());
      for (const int64_t first : {0, 7, 30}) {
        const int64_t end = first == 0 ? 7 : first == 7 ? 30 : kRows;
        DepthwiseConv(p.kernel(), p.history.data(), p.x.data(), first, end, ranges.data());
      }
      EXPECT_EQ(ranges, whole) << size << " " << width;
    }
  }
}

RONDO_KERNEL_TEST(DepthwiseConvTest);

}  // namespace
}  // namespace rondo
