#include "rondo/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace rondo {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {
 protected:
  ThreadPool pool_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 5));

TEST_P(ThreadPoolTest, CallsEveryItemOnce) {
  EXPECT_EQ(pool_.threads(), GetParam());
  for (const int count : {0, 1, 2, 3, 7, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
    pool_.ParallelFor(count, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
    for (const auto& n : calls) EXPECT_EQ(n, 1) << "of " << count;
  }
}

TEST_P(ThreadPoolTest, ResultsAreVisibleAfterEachOfManyShortJobs) {
  std::vector<int64_t> values(16);
  for (int64_t round = 0; round < 2000; ++round) {
    pool_.ParallelFor(16, [&](int64_t i) { values[static_cast<size_t>(i)] = round * i; });
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), round * 120);
  }
}

TEST_P(ThreadPoolTest, RangesCoverEverythingOnceWithBordersAtTheGrain) {
  for (const auto& sizes : {std::pair{0, 4}, {1, 4}, {8, 4}, {9, 4}, {1000, 16}, {7, 0}}) {
    const int count = sizes.first, grain = sizes.second;
    std::vector<int> calls(static_cast<size_t>(count));
    std::mutex mutex;
    int ranges = 0;
    pool_.ParallelRanges(count, grain, [&](int64_t begin, int64_t end) {
      std::lock_guard lock(mutex);
      ++ranges;
      EXPECT_LT(begin, end);
      if (grain > 0) {
        EXPECT_EQ(begin % grain, 0);
        EXPECT_TRUE(end % grain == 0 || end == count);
      }
      for (int64_t i = begin; i < end; ++i) ++calls[static_cast<size_t>(i)];
    });
    EXPECT_LE(ranges, pool_.threads());
    EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(count), 1)) << count << " " << grain;
  }
}

TEST_P(ThreadPoolTest, AnExceptionReachesTheCallerAndThePoolStaysUsable) {
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(pool_.ParallelFor(100,
                                   [](int64_t i) {
                                     if (i % 3 == 0) throw std::runtime_error("item");
                                   }),
                 std::runtime_error);
    std::atomic<int> calls = 0;
    pool_.ParallelFor(100, [&](int64_t) { ++calls; });
    EXPECT_EQ(calls, 100);
  }
}

TEST_P(ThreadPoolTest, NestedCallsRunInline) {
  std::atomic<int> calls = 0;
  pool_.ParallelFor(8, [&](int64_t) {
    const auto outer = std::this_thread::get_id();
    pool_.ParallelFor(8, [&](int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), outer);
      ++calls;
    });
  });
  EXPECT_EQ(calls, 64);
}

TEST_P(ThreadPoolTest, AnExceptionOfANestedCallReachesTheOuterCaller) {
  EXPECT_THROW(
      pool_.ParallelFor(
          4, [&](int64_t) { pool_.ParallelFor(4, [](int64_t) { throw std::logic_error("x"); }); }),
      std::logic_error);
}

TEST_P(ThreadPoolTest, ConcurrentCallersTakeTurns) {
  std::vector<std::thread> callers;
  std::atomic<int> calls = 0;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) pool_.ParallelFor(20, [&](int64_t) { ++calls; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(calls, 4 * 50 * 20);
}

TEST(ThreadPool, WorkIsSharedAmongThreads) {
  ThreadPool pool(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  std::atomic<int> waiting = 0;
  // Every item waits until all three run, which only three threads can do.
  pool.ParallelFor(3, [&](int64_t) {
    ++waiting;
    while (waiting < 3) std::this_thread::yield();
    std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(seen.size(), 3u);
}

TEST(ThreadPool, ZeroMeansOneThreadPerCpu) {
  EXPECT_EQ(ThreadPool(0).threads(), AvailableCpus());
  EXPECT_GE(AvailableCpus(), 1);
}

}  // namespace
}  // namespace rondo
