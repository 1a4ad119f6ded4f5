#include <gtest/gtest.h>

#include "model/tiny_config.h"
#include "rondo/sharing_plan.h"

namespace rondo {
namespace {

// A plan whose linears use these blocks.
SharingPlan PlanOf(const std::vector<int>& blocks) {
  ModelConfig config = TinyLlamaConfig();
  config.layers = static_cast<int>(blocks.size());
  SharingPlan plan = IdentityPlan(config);
  for (const Module m : kAllModules) {
    if (config.HasModule(m) && IsLinear(m)) plan[m].blocks = blocks;
  }
  return plan;
}

TEST(FindLoops, Cycle) {
  EXPECT_EQ(FindLoops(PlanOf({0, 1, 2, 0, 1, 2})), (LoopShape{0, 3, 2, 0}));
  EXPECT_EQ(FindLoops(PlanOf({0, 1, 0, 1, 0, 1})), (LoopShape{0, 2, 3, 0}));
  EXPECT_EQ(FindLoops(PlanOf({0, 0, 0, 0})), (LoopShape{0, 1, 4, 0}));
}

TEST(FindLoops, MiddleCycleKeepsItsEnds) {
  const LoopShape shape = FindLoops(PlanOf({0, 1, 2, 3, 1, 2, 3, 4}));
  EXPECT_EQ(shape, (LoopShape{1, 3, 2, 1}));
  EXPECT_EQ(shape.Depth(1, 2), 6);
  EXPECT_EQ(shape.EpilogueDepth(0), 7);
}

TEST(FindLoops, AnUnevenRestFollowsTheLoops) {
  EXPECT_EQ(FindLoops(PlanOf({0, 1, 2, 0, 1, 2, 0})), (LoopShape{0, 3, 2, 1}));
}

TEST(FindLoops, PlansThatDoNotReturnAreOneLoop) {
  EXPECT_EQ(FindLoops(PlanOf({0, 1, 2, 3})), (LoopShape{0, 4, 1, 0}));
  EXPECT_EQ(FindLoops(PlanOf({0, 0, 1, 1, 2, 2})), (LoopShape{0, 6, 1, 0}));
}

TEST(FindLoops, OneModuleApartIsNoLoop) {
  SharingPlan plan = PlanOf({0, 1, 0, 1});
  plan[Module::kDown].blocks = {0, 1, 2, 3};
  EXPECT_EQ(FindLoops(plan), (LoopShape{0, 4, 1, 0}));
}

TEST(FindLoops, NormsOfTheirOwnDoNotMatter) {
  SharingPlan plan = PlanOf({0, 1, 0, 1});
  EXPECT_EQ(plan[Module::kAttnNorm].blocks, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(FindLoops(plan), (LoopShape{0, 2, 2, 0}));
}

}  // namespace
}  // namespace rondo
