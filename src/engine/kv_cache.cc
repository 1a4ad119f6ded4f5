#include "engine/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/checked.h"
#include "rondo/error.h"

namespace rondo {

KvPagePool::KvPagePool(const KvLayout& layout, int depths, int64_t max_pages)
    : layout_(layout),
      depths_(depths),
      max_pages_(max_pages),
      page_bytes_(CheckedMul(layout.depth_bytes(), static_cast<uint64_t>(depths))) {}

int64_t KvPagePool::pages_lent() const {
  std::lock_guard lock(mutex_);
  return lent_;
}

KvPagePool::Page KvPagePool::Take() {
  AlignedBuffer buffer;
  {
    std::lock_guard lock(mutex_);
    if (lent_ >= max_pages_) {
      throw Error({.function = "KvPool",
                   .problem = "all " + std::to_string(max_pages_ * kPagePositions) +
                              " positions of keys and values are in use",
                   .expected = "fewer or shorter sequences at once",
                   .file = {},
                   .field = {}});
    }
    // So that pages come back without allocating.
    const size_t all = free_.size() + static_cast<size_t>(lent_) + 1;
    if (all > free_.capacity()) free_.reserve(2 * all);
    if (!free_.empty()) {
      buffer = std::move(free_.back());
      free_.pop_back();
    }
    ++lent_;
  }
  try {
    if (buffer.bytes() == 0) buffer = AlignedBuffer(page_bytes_);
    std::byte* data = buffer.as<std::byte>();
    auto holder = std::make_shared<AlignedBuffer>(std::move(buffer));
    return {data,
            [pool = shared_from_this(), holder](std::byte*) { pool->Return(std::move(*holder)); }};
  } catch (...) {
    std::lock_guard lock(mutex_);
    --lent_;
    throw;
  }
}

void KvPagePool::Return(AlignedBuffer buffer) {
  std::lock_guard lock(mutex_);
  --lent_;
  free_.push_back(std::move(buffer));
}

void KvSequence::Reserve(int first, int end) {
  for (int64_t page = first / kPagePositions; page < PagesFor(end); ++page) {
    const auto at = static_cast<size_t>(page);
    if (at < pages_.size() && pages_[at].use_count() == 1) continue;
    KvPagePool::Page own = pool_->Take();
    if (at < pages_.size()) {
      std::memcpy(own.get(), pages_[at].get(), pool_->page_bytes());
      pages_[at] = std::move(own);
      data_[at] = pages_[at].get();
    } else {
      data_.push_back(own.get());
      pages_.push_back(std::move(own));
    }
  }
}

void KvSequence::Trim(int length) {
  const auto keep = std::min(pages_.size(), static_cast<size_t>(PagesFor(length)));
  pages_.resize(keep);
  data_.resize(keep);
}

KvView KvSequence::At(int depth) const {
  return {.layout = pool_->layout(),
          .pages = data_,
          .offset = pool_->layout().depth_bytes() * static_cast<uint64_t>(depth)};
}

KvPool::KvPool(std::unique_ptr<State> state) : state_(std::move(state)) {}
KvPool::KvPool(KvPool&&) noexcept = default;
KvPool& KvPool::operator=(KvPool&&) noexcept = default;
KvPool::~KvPool() = default;

int64_t KvPool::positions() const { return state_->pages->max_pages() * kPagePositions; }

int64_t KvPool::free_positions() const {
  return (state_->pages->max_pages() - state_->pages->pages_lent()) * kPagePositions;
}

uint64_t KvPool::bytes_per_position() const {
  return state_->pages->page_bytes() / uint64_t{kPagePositions};
}

KvCache KvPool::NewCache(int capacity) const {
  if (capacity <= 0) {
    throw Error({.function = "KvPool::NewCache",
                 .problem = "capacity " + std::to_string(capacity),
                 .expected = "1 or more",
                 .file = {},
                 .field = {}});
  }
  const auto depths = static_cast<size_t>(state_->pages->depths());
  return KvCache(std::make_unique<KvCache::State>(
      KvCache::State{capacity, KvSequence(state_->pages), std::vector<int>(depths), 0}));
}

KvCache::KvCache(std::unique_ptr<State> state) : state_(std::move(state)) {}
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;
KvCache::~KvCache() = default;

int KvCache::capacity() const { return state_->capacity; }

int KvCache::pages() const { return static_cast<int>(state_->sequence.pages()); }

int KvCache::length() const {
  return *std::min_element(state_->lengths.begin(), state_->lengths.end());
}

int KvCache::length(int depth) const { return state_->lengths[static_cast<size_t>(depth)]; }

void KvCache::Truncate(int length) {
  if (length < 0) {
    throw Error({.function = "KvCache::Truncate",
                 .problem = "length " + std::to_string(length),
                 .expected = "0 or more",
                 .file = {},
                 .field = {}});
  }
  for (int& computed : state_->lengths) computed = std::min(computed, length);
  if (length == 0) state_->expected = 0;
  state_->sequence.Trim(*std::max_element(state_->lengths.begin(), state_->lengths.end()));
}

void KvCache::ExpectLength(int length) { state_->expected = std::max(state_->expected, length); }

KvCache KvCache::Fork(int length) const {
  KvCache copy(std::make_unique<State>(*state_));
  copy.Truncate(length);
  return copy;
}

void KvCache::CopyDepth(int from, int to, int first, int count) {
  const auto at = static_cast<size_t>(to);
  if (first > state_->lengths[at] || first + count > this->length(from)) {
    throw Error(
        {.function = "KvCache::CopyDepth",
         .problem = "positions " + std::to_string(first) + " to " + std::to_string(first + count) +
                    " of depth " + std::to_string(from),
         .expected = "positions that it has computed, without a gap at depth " + std::to_string(to),
         .file = {},
         .field = {}});
  }
  state_->sequence.Reserve(first, first + count);
  CopyKv(state_->sequence.At(from), state_->sequence.At(to), first, count);
  state_->lengths[at] = std::max(state_->lengths[at], first + count);
}

}  // namespace rondo
