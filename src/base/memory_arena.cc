#include "base/memory_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "base/arena_new.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Arenas are few and stay mapped; the list is read without a lock by every delete.
constexpr size_t kMaxArenas = 16;
std::array<std::atomic<MemoryArena*>, kMaxArenas> g_arenas;
std::atomic<size_t> g_arena_count{0};
std::atomic<MemoryArena*> g_active{nullptr};

}  // namespace

// Precedes the memory it describes; blocks lie side by side from the region's beginning to its end.
struct alignas(MemoryArena::kAlignment) MemoryArena::Block {
  size_t size;      // with this header
  size_t previous;  // size of the block before; 0: none
  bool free;
  Block *next_free, *previous_free;
};

MemoryArena& MemoryArena::Create(uint64_t bytes) {
  const auto fail = [&](const char* problem, const char* expected) {
    throw Error({.function = "MemoryArena",
                 .problem = std::to_string(bytes) + " bytes: " + problem,
                 .expected = expected});
  };
  const uint64_t size = bytes / kAlignment * kAlignment;
  if (size < 2 * sizeof(Block)) fail("too small", "a few MiB");
  static std::mutex creating;
  const std::lock_guard lock(creating);
  const size_t index = g_arena_count.load();
  if (index == kMaxArenas) fail("the 17th arena", "at most 16 in a process");
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("refused by the system", "less memory");
  auto* arena = new MemoryArena(static_cast<std::byte*>(memory), size);
  g_arenas[index].store(arena, std::memory_order_release);
  g_arena_count.store(index + 1, std::memory_order_release);
  return *arena;
}

MemoryArena::MemoryArena(std::byte* base, uint64_t size) : base_(base), size_(size) {
  Link(new (base) Block{.size = size, .previous = 0, .free = true});
}

MemoryArena::Block* MemoryArena::NextOf(Block* block) const {
  std::byte* next = reinterpret_cast<std::byte*>(block) + block->size;
  return next < base_ + size_ ? reinterpret_cast<Block*>(next) : nullptr;
}

void MemoryArena::Unlink(Block* block) {
  if (block->previous_free != nullptr) {
    block->previous_free->next_free = block->next_free;
  } else {
    free_ = block->next_free;
  }
  if (block->next_free != nullptr) block->next_free->previous_free = block->previous_free;
}

void MemoryArena::Link(Block* block) {
  block->free = true;
  block->previous_free = nullptr;
  block->next_free = free_;
  if (free_ != nullptr) free_->previous_free = block;
  free_ = block;
}

void* MemoryArena::Allocate(size_t size) {
  if (size > size_) return nullptr;
  const size_t needed = (size + kAlignment - 1) / kAlignment * kAlignment + sizeof(Block);
  const std::lock_guard lock(mutex_);
  // The smallest that fits: large ones stay whole for large buffers.
  Block* best = nullptr;
  for (Block* block = free_; block != nullptr; block = block->next_free) {
    if (block->size >= needed && (best == nullptr || block->size < best->size)) best = block;
    if (best != nullptr && best->size == needed) break;
  }
  if (best == nullptr) return nullptr;
  Unlink(best);
  best->free = false;
  if (best->size - needed > sizeof(Block)) {
    const size_t rest_size = best->size - needed;
    best->size = needed;
    std::byte* at = reinterpret_cast<std::byte*>(best) + needed;
    Block* rest = new (at) Block{.size = rest_size, .previous = needed, .free = true};
    if (Block* after = NextOf(rest)) after->previous = rest_size;
    Link(rest);
  }
  used_ += best->size;
  peak_ = std::max(peak_, used_);
  return best + 1;
}

void MemoryArena::Free(void* memory) {
  Block* block = static_cast<Block*>(memory) - 1;
  const std::lock_guard lock(mutex_);
  used_ -= block->size;
  if (Block* next = NextOf(block); next != nullptr && next->free) {
    Unlink(next);
    block->size += next->size;
  }
  if (block->previous > 0) {
    auto* before = reinterpret_cast<Block*>(reinterpret_cast<std::byte*>(block) - block->previous);
    if (before->free) {
      Unlink(before);
      before->size += block->size;
      block = before;
    }
  }
  if (Block* next = NextOf(block)) next->previous = block->size;
  Link(block);
}

uint64_t MemoryArena::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

uint64_t MemoryArena::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

MemoryArena* MemoryArena::Active() { return g_active.load(std::memory_order_acquire); }

MemoryArena* MemoryArena::OwnerOf(const void* memory) {
  const size_t count = g_arena_count.load(std::memory_order_acquire);
  for (size_t i = 0; i < count; ++i) {
    MemoryArena* arena = g_arenas[i].load(std::memory_order_acquire);
    if (arena->Owns(memory)) return arena;
  }
  return nullptr;
}

ArenaScope::ArenaScope(MemoryArena& arena) {
  LinkArenaNew();
  MemoryArena* none = nullptr;
  if (!g_active.compare_exchange_strong(none, &arena)) {
    throw Error({.function = "ArenaScope", .problem = "an arena is in use", .expected = "one"});
  }
}

ArenaScope::~ArenaScope() { g_active.store(nullptr, std::memory_order_release); }

void* AllocateZeroed(size_t size) {
  MemoryArena* arena = MemoryArena::Active();
  if (arena == nullptr) return std::calloc(size, 1);
  void* memory = arena->Allocate(size);
  if (memory != nullptr) std::memset(memory, 0, size);
  return memory;
}

void FreeZeroed(void* memory) {
  if (MemoryArena* arena = MemoryArena::OwnerOf(memory)) return arena->Free(memory);
  std::free(memory);
}

}  // namespace rondo
