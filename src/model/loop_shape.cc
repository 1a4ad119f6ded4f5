#include <algorithm>

#include "rondo/sharing_plan.h"

namespace rondo {
namespace {

bool SameBlocks(const SharingPlan& plan, int depth_a, int depth_b) {
  return std::ranges::all_of(kAllModules, [&](Module m) {
    const std::vector<int>& blocks = plan[m].blocks;
    return !IsLinear(m) || blocks.empty() ||
           blocks[static_cast<size_t>(depth_a)] == blocks[static_cast<size_t>(depth_b)];
  });
}

// How often the `stages` depths from `first` on are repeated right behind themselves, plus one.
int CountLoops(const SharingPlan& plan, int first, int stages) {
  int depth = first + stages;
  while (depth < plan.depths && SameBlocks(plan, depth, depth - stages)) ++depth;
  return (depth - first) / stages;
}

}  // namespace

LoopShape FindLoops(const SharingPlan& plan) {
  LoopShape best{.prologue = 0, .stages = plan.depths, .loops = 1, .epilogue = 0};
  int covered = (plan.depths - 1) / 2;
  for (int first = 0; first < plan.depths; ++first) {
    for (int stages = 1; first + 2 * stages <= plan.depths; ++stages) {
      const int loops = CountLoops(plan, first, stages);
      if (loops < 2 || loops * stages <= covered) continue;
      covered = loops * stages;
      best = {.prologue = first,
              .stages = stages,
              .loops = loops,
              .epilogue = plan.depths - first - covered};
    }
  }
  return best;
}

}  // namespace rondo
