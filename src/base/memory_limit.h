// A limit on what the process allocates beside what it holds already, C libraries included.
//
//   UseOneHeap();                           // first thing in main, before there are threads
//   …
//   MemoryLimit limit(uint64_t{256} << 20);
//   Work();                                 // std::bad_alloc, or a library's error, where it is
//   full limit.peak();
//
// The system enforces it (RLIMIT_DATA: heap, buffers and stacks of new threads; mapped files do not
// count). While it stands nothing is given back to the system, so that the heap's growth is the
// peak of what was needed, fragmentation included. One at a time in a process.
#pragma once

#include <cstdint>

namespace rondo {

// All threads share one heap, and large buffers go back to the system when they are freed.
void UseOneHeap();

class MemoryLimit {
 public:
  // Throws rondo::Error when the system refuses.
  explicit MemoryLimit(uint64_t bytes);
  ~MemoryLimit();  // no limit any more
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

  uint64_t bytes() const { return bytes_; }
  // Most that was held at any time, since the constructor ran and beside what was held then.
  uint64_t peak() const;
  // Another limit, counted from the same start.
  void Set(uint64_t bytes);

 private:
  uint64_t start_;
  uint64_t bytes_ = 0;
};

}  // namespace rondo
