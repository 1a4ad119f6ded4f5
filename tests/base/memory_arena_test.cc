#include "base/memory_arena.h"

#include <gmock/gmock.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(MemoryArena, GivesDisjointMemoryAndTakesItBack) {
  MemoryArena& arena = MemoryArena::Create(1 << 20);
  Rng rng(2);
  struct Held {
    unsigned char* memory;
    size_t size;
    unsigned char mark;
  };
  std::vector<Held> held;
  for (int i = 0; i < 20000; ++i) {
    if (rng.Uniform() < 0.5 || held.empty()) {
      const size_t size = rng.Next() % (rng.Uniform() < 0.1 ? 100000 : 300);
      auto* memory = static_cast<unsigned char*>(arena.Allocate(size));
      if (memory == nullptr) continue;
      ASSERT_EQ(reinterpret_cast<uintptr_t>(memory) % MemoryArena::kAlignment, 0u);
      ASSERT_TRUE(arena.Owns(memory));
      const auto mark = static_cast<unsigned char>(i);
      std::memset(memory, mark, size);
      held.push_back({memory, size, mark});
    } else {
      const size_t at = rng.Next() % held.size();
      const Held block = held[at];
      for (size_t k = 0; k < block.size; ++k) ASSERT_EQ(block.memory[k], block.mark);
      arena.Free(block.memory);
      held[at] = held.back();
      held.pop_back();
    }
    ASSERT_LE(arena.used(), arena.bytes());
  }
  for (const Held& block : held) arena.Free(block.memory);
  EXPECT_EQ(arena.used(), 0u);
  EXPECT_GT(arena.peak(), 100000u);
  // All of it is one piece again.
  EXPECT_NE(arena.Allocate((1 << 20) - 1024), nullptr);
  EXPECT_EQ(arena.Allocate(1024), nullptr);
}

TEST(MemoryArena, ServesNewWhileItIsInUse) {
  MemoryArena& arena = MemoryArena::Create(1 << 20);
  auto before = std::make_unique<std::string>(1000, 'a');
  std::unique_ptr<std::vector<int>> kept;
  {
    const ArenaScope scope(arena);
    kept = std::make_unique<std::vector<int>>(1000, 7);
    EXPECT_TRUE(arena.Owns(kept->data()));
    before.reset();  // not the arena's
    EXPECT_THROW(std::vector<char>(2 << 20), std::bad_alloc);
    std::thread([&] { EXPECT_TRUE(arena.Owns(std::make_unique<int>(3).get())); }).join();
    EXPECT_THAT([&] { ArenaScope second(arena); }, ThrowsMessage<Error>(HasSubstr("in use")));
    void* zeros = AllocateZeroed(5000);
    EXPECT_TRUE(arena.Owns(zeros));
    EXPECT_EQ(static_cast<char*>(zeros)[4999], 0);
    FreeZeroed(zeros);
  }
  auto after = std::make_unique<std::string>(1000, 'b');
  EXPECT_FALSE(arena.Owns(after->data()));
  EXPECT_EQ((*kept)[999], 7);
  kept.reset();
  EXPECT_GT(arena.peak(), 4000u);
}

TEST(MemoryArena, SizesThatMakeNoSenseAreErrors) {
  EXPECT_THAT([] { MemoryArena::Create(10); }, ThrowsMessage<Error>(HasSubstr("too small")));
  EXPECT_THAT([] { MemoryArena::Create(uint64_t{1} << 60); },
              ThrowsMessage<Error>(HasSubstr("refused")));
}

}  // namespace
}  // namespace rondo
