#include "fold/shared_init.h"

#include <algorithm>
#include <cstdint>

namespace rondo {
namespace {

// round(a / b), halves to the even neighbour, as numpy.round does; a >= 0, b > 0.
int64_t RoundHalfEven(int64_t a, int64_t b) {
  const int64_t down = a / b, twice_rest = 2 * (a % b);
  if (twice_rest != b) return down + (twice_rest > b ? 1 : 0);
  return down + down % 2;
}

// Index into the n shared depths for shared block k of K.
int64_t Choose(InitKind init, int64_t k, int64_t unique, int64_t n) {
  if (init == InitKind::kLower) return k;
  if (init == InitKind::kUpper) return n - unique + k;
  return unique == 1 ? 0 : RoundHalfEven(k * (n - 1), unique - 1);
}

}  // namespace

std::vector<std::vector<int>> DepthsOfBlocks(const std::vector<int>& blocks) {
  std::vector<std::vector<int>> depths;
  for (size_t d = 0; d < blocks.size(); ++d) {
    const auto block = static_cast<size_t>(blocks[d]);
    if (block >= depths.size()) depths.resize(block + 1);
    depths[block].push_back(static_cast<int>(d));
  }
  return depths;
}

std::vector<std::vector<int>> SourceDepths(const std::vector<int>& blocks, InitKind init) {
  std::vector<std::vector<int>> sources = DepthsOfBlocks(blocks);
  if (init == InitKind::kAverage) return sources;
  std::vector<int> shared_depths;
  std::vector<size_t> shared_blocks;
  for (size_t k = 0; k < sources.size(); ++k) {
    if (sources[k].size() < 2) continue;
    shared_blocks.push_back(k);
    shared_depths.insert(shared_depths.end(), sources[k].begin(), sources[k].end());
  }
  std::sort(shared_depths.begin(), shared_depths.end());
  for (size_t k = 0; k < shared_blocks.size(); ++k) {
    std::vector<int>& source = sources[shared_blocks[k]];
    source.clear();
    if (init == InitKind::kRandom) continue;
    const int64_t index =
        Choose(init, static_cast<int64_t>(k), static_cast<int64_t>(shared_blocks.size()),
               static_cast<int64_t>(shared_depths.size()));
    source.push_back(shared_depths[static_cast<size_t>(index)]);
  }
  return sources;
}

}  // namespace rondo
