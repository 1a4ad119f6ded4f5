// Which neighbours to tie: the combinatorial part of plan suggestion.
#pragma once

#include <span>
#include <vector>

namespace rondo {

// Sets of disjoint pairs of neighbours with least summed cost, for every number of pairs.
struct PairChoice {
  double cost = 0;
  std::vector<int> firsts;  // first depth of each pair, ascending
};

// cost[d] belongs to the pair (d, d + 1). Result [n] is the best choice of n pairs, n = 0 up to
// (cost.size() + 1) / 2. Dynamic programming, O(depths · pairs).
std::vector<PairChoice> BestPairs(std::span<const double> cost);

// [depths] block ids in which the pairs share and every other depth is alone.
std::vector<int> BlocksOfPairs(const std::vector<int>& firsts, int depths);

}  // namespace rondo
