#include "engine/kv_cache.h"

#include <algorithm>
#include <string>
#include <utility>

#include "rondo/error.h"

namespace rondo {

KvCache::KvCache(std::unique_ptr<State> state) : state_(std::move(state)) {}
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;
KvCache::~KvCache() = default;

int KvCache::length() const {
  return *std::min_element(state_->lengths.begin(), state_->lengths.end());
}

int KvCache::capacity() const { return state_->capacity; }

void KvCache::Truncate(int length) {
  if (length < 0) {
    throw Error({.function = "KvCache::Truncate",
                 .problem = "length " + std::to_string(length),
                 .expected = "0 or more"});
  }
  for (int& depth_length : state_->lengths) depth_length = std::min(depth_length, length);
}

}  // namespace rondo
