// State behind KvCache: keys and values of one sequence for every depth.
#pragma once

#include <vector>

#include "kernels/attention.h"
#include "rondo/engine.h"

namespace rondo {

struct KvCache::State {
  int capacity = 0;
  std::vector<KvPanels> depths;
  std::vector<int> lengths;  // [depths] positions computed
};

}  // namespace rondo
