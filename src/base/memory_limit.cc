#include "base/memory_limit.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <climits>
#include <string>

#include "base/machine.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// glibc's defaults, which setting them keeps from growing.
constexpr int kOwnMappingFrom = 128 * 1024;
constexpr int kMostMappings = 65536;

void SetLimit(uint64_t bytes) {
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
  if (setrlimit(RLIMIT_DATA, &limit) == 0) return;
  throw Error({.function = "MemoryLimit",
               .problem = "the system refuses a limit of " + std::to_string(bytes) + " bytes",
               .expected = "another one"});
}

}  // namespace

void UseOneHeap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, kOwnMappingFrom);
}

MemoryLimit::MemoryLimit(uint64_t bytes) : start_(0) {
  malloc_trim(0);
  start_ = static_cast<uint64_t>(DataMemoryBytes());
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  Set(bytes);
}

MemoryLimit::~MemoryLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_DATA, &limit);
  mallopt(M_MMAP_MAX, kMostMappings);
  mallopt(M_TRIM_THRESHOLD, kOwnMappingFrom);
}

uint64_t MemoryLimit::peak() const {
  return std::max(static_cast<uint64_t>(DataMemoryBytes()), start_) - start_;
}

void MemoryLimit::Set(uint64_t bytes) {
  SetLimit(start_ + std::min(bytes, UINT64_MAX - start_));
  bytes_ = bytes;
}

}  // namespace rondo
