// Zeroed, cache-line aligned memory. Pages of large buffers are committed on first touch, so a
// cache with spare capacity costs address space only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "base/memory_error.h"

namespace rondo {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() = default;
  // Throws MemoryError when there is no memory.
  explicit AlignedBuffer(uint64_t bytes) : bytes_(bytes) {
    if (bytes > SIZE_MAX - kAlignment || !(memory_ = Memory(std::calloc(bytes + kAlignment, 1)))) {
      throw MemoryError({.function = "AlignedBuffer",
                         .problem = "no memory for " + std::to_string(bytes) + " bytes"});
    }
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    const uintptr_t aligned = (address + kAlignment - 1) / kAlignment * kAlignment;
    data_ = static_cast<std::byte*>(memory_.get()) + (aligned - address);
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept { *this = std::move(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }

  uint64_t bytes() const { return bytes_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  using Memory = std::unique_ptr<void, Free>;
  Memory memory_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace rondo
