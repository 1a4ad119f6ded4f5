// One fixed region of memory for all that a process allocates while it works, so that its size is
// known beforehand and can never be exceeded.
//
//   MemoryArena& arena = MemoryArena::Create(uint64_t{256} << 20);
//   {
//     const ArenaScope scope(arena);     // operator new and AlignedBuffer take from the arena now
//     Work();                            // std::bad_alloc when it is full
//   }
//   arena.peak();
//
// What was allocated before stays where it is. Objects of the arena may be freed after the scope:
// an arena lives until the process ends. Memory that C libraries allocate for themselves is not in
// it. Thread-safe; one arena may be in use at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace rondo {

class MemoryArena {
 public:
  static constexpr size_t kAlignment = 64;

  // Reserves address space; pages are committed as they are used. Throws rondo::Error when the
  // system refuses.
  static MemoryArena& Create(uint64_t bytes);
  MemoryArena(const MemoryArena&) = delete;
  MemoryArena& operator=(const MemoryArena&) = delete;

  uint64_t bytes() const { return size_; }
  uint64_t used() const;  // now, with what keeping the books costs
  uint64_t peak() const;  // most at any time

  // Aligned to kAlignment; nullptr when there is no room.
  void* Allocate(size_t size);
  void Free(void* memory);
  bool Owns(const void* memory) const {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    return address - reinterpret_cast<uintptr_t>(base_) < size_;
  }

  // The arena in use, or null.
  static MemoryArena* Active();
  // The arena that owns `memory`, in use or not; null for other memory.
  static MemoryArena* OwnerOf(const void* memory);

 private:
  struct Block;
  MemoryArena(std::byte* base, uint64_t size);
  ~MemoryArena() = default;
  Block* NextOf(Block* block) const;
  void Unlink(Block* block);
  void Link(Block* block);

  std::byte* base_;
  uint64_t size_;
  mutable std::mutex mutex_;
  Block* free_ = nullptr;  // the free blocks, in no order
  uint64_t used_ = 0, peak_ = 0;
};

// While it lives, operator new takes from `arena`.
class ArenaScope {
 public:
  explicit ArenaScope(MemoryArena& arena);
  ~ArenaScope();
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
};

// Zeroed memory, aligned as malloc's or better: from the arena in use, else from the system, where
// pages are committed on first touch. Null when there is none.
void* AllocateZeroed(size_t size);
void FreeZeroed(void* memory);

}  // namespace rondo
