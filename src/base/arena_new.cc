#include "base/arena_new.h"

#include <cstdlib>
#include <new>

#include "base/memory_arena.h"

namespace rondo {

void LinkArenaNew() {}

}  // namespace rondo

// The forms not replaced here call these, or (those with an alignment) agree among themselves.
void* operator new(std::size_t size) {
  rondo::MemoryArena* arena = rondo::MemoryArena::Active();
  void* memory = arena != nullptr ? arena->Allocate(size) : std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  if (rondo::MemoryArena* arena = rondo::MemoryArena::OwnerOf(memory)) {
    arena->Free(memory);
  } else {
    std::free(memory);
  }
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
