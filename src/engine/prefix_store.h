// Keys and values of texts that were written, for prompts that begin alike.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "rondo/engine.h"

namespace rondo {

class PrefixStore {
 public:
  // Keeps `tokens`, all of whose positions the cache has computed with `loops` loops.
  void Keep(std::vector<int32_t> tokens, int loops, KvCache cache);
  // A cache with the longest kept beginning of `prompt`, at most all but its last token; nothing
  // when less than a few tokens agree.
  std::optional<KvCache> Find(std::span<const int32_t> prompt, int loops);
  // Forgets what was used longest ago. False when nothing is kept.
  bool Evict();

 private:
  struct Entry {
    std::vector<int32_t> tokens;
    int loops;
    KvCache cache;
  };
  std::list<Entry> entries_;  // last used first
};

}  // namespace rondo
