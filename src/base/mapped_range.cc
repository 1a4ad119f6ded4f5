#include "base/mapped_range.h"

#include <array>
#include <atomic>
#include <cstdint>

namespace rondo {
namespace {

struct Range {
  std::atomic<uintptr_t> begin = 0;  // 0: free; written last, cleared first
  std::atomic<uintptr_t> end = 0;
  std::atomic<const char*> path = nullptr;
};

constexpr uintptr_t kTaken = 1;  // being filled in
std::array<Range, 512> ranges;

uintptr_t Address(const void* data) { return reinterpret_cast<uintptr_t>(data); }

}  // namespace

void AddMappedRange(const void* data, size_t size, const char* path) {
  for (Range& range : ranges) {
    uintptr_t free = 0;
    if (!range.begin.compare_exchange_strong(free, kTaken)) continue;
    range.end = Address(data) + size;
    range.path = path;
    range.begin = Address(data);
    return;
  }
}

void RemoveMappedRange(const void* data) {
  for (Range& range : ranges) {
    uintptr_t begin = Address(data);
    if (range.begin.compare_exchange_strong(begin, 0)) return;
  }
}

const char* MappedPathAt(const void* address) {
  // The last page of a file ends behind it.
  constexpr uintptr_t kPageSize = 4096;
  for (const Range& range : ranges) {
    const uintptr_t begin = range.begin;
    if (begin <= kTaken || Address(address) < begin) continue;
    if (Address(address) < range.end + kPageSize) return range.path;
  }
  return nullptr;
}

}  // namespace rondo
