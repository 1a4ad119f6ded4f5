#include "base/memory_limit.h"

// The address sanitizer has a heap of its own, and ends the process where there is no memory.
#ifndef RONDO_ADDRESS_SANITIZER

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "base/machine.h"

namespace rondo {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Whether `size` bytes can be had, by C++ and by C, in this thread and in another.
bool CanHave(size_t size) {
  const auto both = [size] {
    try {
      const std::vector<char> values(size, 'a');
      if (values[size / 2] != 'a') return false;
    } catch (const std::bad_alloc&) {
      return false;
    }
    void* memory = std::malloc(size);
    std::free(memory);
    return memory != nullptr;
  };
  bool other = false;
  std::thread([&] { other = both(); }).join();
  return other && both();
}

// In a new process, which ends with the number of the first thing that is not so.
template <typename F>
void ExpectInAProcess(const F& check) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(std::exit(check()), testing::ExitedWithCode(0), "");
}

TEST(MemoryLimit, EndsWhatAsksForMoreAndLeavesTheRestAlone) {
  ExpectInAProcess([] {
    UseOneHeap();
    auto before = std::make_unique<std::vector<char>>(8 * kMiB, 'b');
    {
      const MemoryLimit limit(32 * kMiB);
      if (!CanHave(5 * kMiB)) return 1;
      if (CanHave(40 * kMiB)) return 2;
      if (!CanHave(5 * kMiB)) return 3;
      before.reset();
      if (limit.peak() > limit.bytes()) return 4;
    }
    return CanHave(40 * kMiB) ? 0 : 5;
  });
}

TEST(MemoryLimit, RemembersThePeakOfManySmallAndLargePieces) {
  ExpectInAProcess([] {
    UseOneHeap();
    const MemoryLimit limit(256 * kMiB);
    if (limit.peak() > kMiB) return 1;
    for (int round = 0; round < 3; ++round) {
      std::vector<std::vector<char>> pieces;
      for (int i = 0; i < 20; ++i) pieces.emplace_back(kMiB, 'a');
      for (int i = 0; i < 1000; ++i) pieces.emplace_back(1000, 'a');
    }
    if (limit.peak() < 20 * kMiB) return 2;
    return limit.peak() > 24 * kMiB ? 3 : 0;
  });
}

TEST(MemoryLimit, CanBeRaisedFromTheSameStart) {
  ExpectInAProcess([] {
    UseOneHeap();
    MemoryLimit limit(20 * kMiB);
    if (CanHave(24 * kMiB)) return 1;
    limit.Set(128 * kMiB);
    if (!CanHave(24 * kMiB)) return 2;
    return limit.peak() >= 24 * kMiB && limit.peak() < 64 * kMiB ? 0 : 3;
  });
}

}  // namespace
}  // namespace rondo

#endif  // RONDO_ADDRESS_SANITIZER
