#include "fold/suggest_pairs.h"

#include <algorithm>
#include <limits>

namespace rondo {

std::vector<PairChoice> BestPairs(std::span<const double> cost) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const size_t depths = cost.size() + 1, most = depths / 2;
  // best[d][n]: least cost of n pairs within the first d depths.
  std::vector<std::vector<double>> best(depths + 1, std::vector<double>(most + 1, kNever));
  for (size_t d = 0; d <= depths; ++d) {
    best[d][0] = 0;
    for (size_t n = 1; n <= d / 2; ++n) {
      best[d][n] = std::min(best[d - 1][n], best[d - 2][n - 1] + cost[d - 2]);
    }
  }
  std::vector<PairChoice> choices;
  for (size_t pairs = 0; pairs <= most; ++pairs) {
    PairChoice choice{best[depths][pairs], {}};
    size_t n = pairs;
    for (size_t d = depths; n > 0; --d) {
      if (best[d][n] == best[d - 1][n]) continue;
      choice.firsts.push_back(static_cast<int>(d) - 2);
      --n;
      --d;
    }
    std::reverse(choice.firsts.begin(), choice.firsts.end());
    choices.push_back(std::move(choice));
  }
  return choices;
}

std::vector<int> BlocksOfPairs(const std::vector<int>& firsts, int depths) {
  std::vector<int> blocks;
  int next = 0;
  for (int d = 0; d < depths; ++d) {
    const bool second = std::find(firsts.begin(), firsts.end(), d - 1) != firsts.end();
    blocks.push_back(second ? next - 1 : next++);
  }
  return blocks;
}

}  // namespace rondo
