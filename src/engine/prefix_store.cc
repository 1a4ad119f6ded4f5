#include "engine/prefix_store.h"

#include <algorithm>
#include <utility>

namespace rondo {
namespace {

constexpr size_t kWorthwhile = 8;  // tokens; fewer cost less than the copy of a page

size_t CommonPrefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

void PrefixStore::Keep(std::vector<int32_t> tokens, int loops, KvCache cache) {
  // A text that continues a kept one takes its place.
  std::erase_if(entries_, [&](const Entry& entry) {
    return entry.loops == loops && CommonPrefix(entry.tokens, tokens) == entry.tokens.size();
  });
  entries_.push_front({std::move(tokens), loops, std::move(cache)});
}

std::optional<KvCache> PrefixStore::Find(std::span<const int32_t> prompt, int loops) {
  if (prompt.empty()) return std::nullopt;
  auto best = entries_.end();
  size_t longest = kWorthwhile - 1;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->loops != loops) continue;
    const size_t common = CommonPrefix(entry->tokens, prompt.first(prompt.size() - 1));
    if (common <= longest) continue;
    longest = common;
    best = entry;
  }
  if (best == entries_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, best);
  return best->cache.Fork(static_cast<int>(longest));
}

bool PrefixStore::Evict() {
  if (entries_.empty()) return false;
  entries_.pop_back();
  return true;
}

}  // namespace rondo
