#include "kernels/bandwidth.h"

#include <gtest/gtest.h>

#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Far outside what any machine does, so that only a wrong unit or work optimised away falls out.
TEST(MeasureReadBandwidth, IsPlausibleForMemoryAndCache) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const uint64_t bytes : {uint64_t{1} << 18, uint64_t{64} << 20}) {
      const double rate = MeasureReadBandwidth(bytes, pool);
      EXPECT_GT(rate, 1e7);
      EXPECT_LT(rate, 2e12 * threads);
    }
  }
}

TEST(MeasureReadBandwidth, ReadsSomethingHoweverSmall) {
  ThreadPool pool(2);
  EXPECT_GT(MeasureReadBandwidth(0, pool), 0);
}

}  // namespace
}  // namespace rondo
