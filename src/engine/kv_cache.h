// Pages of keys and values: the pool that bounds them, the list that a sequence owns, and the state
// behind KvCache.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/kv_pages.h"
#include "rondo/engine.h"

namespace rondo {

// Lends pages, each with room for 64 positions at every depth, up to a limit; pages given back are
// lent again. Thread-safe. Pages keep the pool alive.
class KvPagePool : public std::enable_shared_from_this<KvPagePool> {
 public:
  using Page = std::shared_ptr<std::byte>;

  // Throws when a page's size overflows.
  KvPagePool(const KvLayout& layout, int depths, int64_t max_pages);

  const KvLayout& layout() const { return layout_; }
  int depths() const { return depths_; }
  int64_t max_pages() const { return max_pages_; }
  uint64_t page_bytes() const { return page_bytes_; }
  int64_t pages_lent() const;
  // Throws rondo::Error when all pages are lent or memory is short.
  Page Take();

 private:
  void Return(AlignedBuffer buffer);

  KvLayout layout_;
  int depths_;
  int64_t max_pages_;
  uint64_t page_bytes_;
  mutable std::mutex mutex_;
  int64_t lent_ = 0;
  std::vector<AlignedBuffer> free_;
};

// The pages of one sequence. A copy shares them; whoever writes to a shared page gets its own
// first.
class KvSequence {
 public:
  explicit KvSequence(std::shared_ptr<KvPagePool> pool) : pool_(std::move(pool)) {}

  const std::shared_ptr<KvPagePool>& pool() const { return pool_; }
  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  // Makes positions [first, end) writable.
  void Reserve(int first, int end);
  // Gives back the pages without positions below `length`.
  void Trim(int length);
  KvView At(int depth) const;

 private:
  std::shared_ptr<KvPagePool> pool_;
  std::vector<KvPagePool::Page> pages_;
  std::vector<std::byte*> data_;  // of pages_
};

struct KvPool::State {
  std::shared_ptr<KvPagePool> pages;
};

struct KvCache::State {
  int capacity = 0;
  KvSequence sequence;
  std::vector<int> lengths;  // [depths] positions computed
  int expected = 0;          // positions that the text is known to have
};

}  // namespace rondo
