#include "kernels/panel_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Of sizes around those of a line, a page and what gets memory of its own.
TEST(PanelMemory, GivesZerosThatNobodyElseHas) {
  const std::vector<uint64_t> sizes = {0,    1,    63,      64,      65,      4096,
                                       4097, 5000, 1 << 20, 3 << 20, 5 << 20, 17 << 20};
  std::vector<std::shared_ptr<std::byte>> taken(4 * sizes.size());
  const auto size = [&](size_t i) { return sizes[i % sizes.size()]; };
  {
    PanelMemory memory;
    ThreadPool pool(3);
    pool.ParallelFor(static_cast<int64_t>(taken.size()), [&](int64_t t) {
      const auto i = static_cast<size_t>(t);
      taken[i] = memory.Take(size(i));
      const std::byte* bytes = taken[i].get();
      EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % 64, 0u);
      EXPECT_TRUE(
          std::all_of(bytes, bytes + size(i), [](std::byte b) { return b == std::byte{}; }));
      std::memset(taken[i].get(), static_cast<int>(i + 1), size(i));
    });
  }
  for (size_t i = 0; i < taken.size(); ++i) {
    const std::byte* bytes = taken[i].get();
    EXPECT_TRUE(std::all_of(bytes, bytes + size(i), [&](std::byte b) {
      return b == static_cast<std::byte>(i + 1);
    })) << i;
  }
}

}  // namespace
}  // namespace rondo
