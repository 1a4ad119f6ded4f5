// Which layer takes whose weights: decisions, chains, and the plans that follow.
#include "train/tying/tie_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rondo/weights.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

using testing::ElementsAre;

TieUnit Start(TieStart start, int layers = 5) {
  ModelConfig config = SmallConfig();
  config.layers = layers;
  return StartTies(config, TieUnits::kLayer, start, false).units.front();
}

TEST(Ties, PublishedStartHasOneTrainedLayerAndAStateOfZeros) {
  const TieUnit unit = Start(TieStart::kFrozen);
  EXPECT_THAT(unit.choice, ElementsAre(0, 0, 0, 0, 0));
  EXPECT_THAT(unit.storage, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_TRUE(unit.Independent(0));
  for (int d = 1; d < 5; ++d) {
    EXPECT_FALSE(unit.Independent(d));
    EXPECT_FALSE(unit.Tied(d));
    EXPECT_TRUE(unit.Untrained(d));
  }
}

TEST(Ties, ALayerFollowsTheOneItTakesItsWeightsFrom) {
  TieUnit unit = Start(TieStart::kIndependent);
  unit.Act(3, 1, Untie::kCopy);
  unit.Act(4, 3, Untie::kCopy);
  EXPECT_THAT(unit.storage, ElementsAre(0, 1, 2, 1, 1));
  unit.Act(1, 0, Untie::kCopy);  // 3 and 4 follow
  EXPECT_THAT(unit.storage, ElementsAre(0, 0, 2, 0, 0));
  EXPECT_TRUE(unit.Untrained(1));
  unit.Act(3, 3, Untie::kCopy);  // becomes independent, and 4 follows
  EXPECT_THAT(unit.storage, ElementsAre(0, 0, 2, 3, 3));
  EXPECT_THAT(unit.choice, ElementsAre(0, 0, 2, 3, 3));
}

TEST(Ties, AliasingUntieTrainsTheSameTensors) {
  TieUnit unit = Start(TieStart::kIndependent);
  unit.Act(2, 0, Untie::kAlias);
  unit.Act(2, 2, Untie::kAlias);
  EXPECT_THAT(unit.storage, ElementsAre(0, 1, 0, 3, 4));
  EXPECT_TRUE(unit.Independent(0));
  EXPECT_TRUE(unit.Independent(2));
  unit.Act(4, 2, Untie::kAlias);
  EXPECT_THAT(unit.storage, ElementsAre(0, 1, 0, 3, 0));
}

TEST(Ties, FirstDecisionOfAFrozenLayerTrainsItsOwnWeights) {
  for (const Untie untie : {Untie::kCopy, Untie::kAlias}) {
    TieUnit unit = Start(TieStart::kFrozen);
    unit.Act(2, 2, untie);
    EXPECT_TRUE(unit.Independent(2));
    EXPECT_FALSE(unit.Untrained(2));
    EXPECT_THAT(unit.storage, ElementsAre(0, 1, 2, 3, 4));
  }
}

TEST(Ties, PlansAreValidAndStoreWhatIsUsed) {
  const ModelConfig config = SmallConfig();
  const SharingPlan base = IdentityPlan(config);
  TieState state = StartTies(config, TieUnits::kLayer, TieStart::kIndependent, false);
  const int64_t all = StoredParameters(config, base, state, {});
  EXPECT_EQ(all, CountParameters(config, base).NonEmbedding());
  state.units[0].Act(2, 1, Untie::kCopy);
  state.units[0].Act(3, 0, Untie::kCopy);
  const SharingPlan plan = PlanOfTies(config, base, state, {});
  plan.Validate(config);
  EXPECT_THAT(plan[Module::kQ].blocks, ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(plan[Module::kAttnNorm].blocks, ElementsAre(0, 1, 1, 0));
  const int64_t layer = (all - config.d_model) / config.layers;  // all but the final norm
  EXPECT_EQ(StoredParameters(config, base, state, {}), all - 2 * layer);
  EXPECT_EQ(state.IndependentLayers(), 2);
}

TEST(Ties, TiedLayersAloneHaveResiduals) {
  const ModelConfig config = SmallConfig();
  TieState state = StartTies(config, TieUnits::kLayer, TieStart::kIndependent, false);
  state.units[0].Act(2, 1, Untie::kCopy);
  const SharingPlan plan =
      PlanOfTies(config, IdentityPlan(config), state, {.kind = ResidualKind::kLora, .rank = 3});
  plan.Validate(config);
  EXPECT_THAT(plan[Module::kUp].ranks, ElementsAre(0, 0, 3, 0));
}

TEST(Ties, UnitsAreTiedApart) {
  const ModelConfig config = SmallConfig();
  TieState halves = StartTies(config, TieUnits::kHalf, TieStart::kTied, false);
  ASSERT_EQ(halves.units.size(), 2u);
  EXPECT_EQ(halves.units[0].name, "attention");
  EXPECT_EQ(halves.units[1].name, "ffn");
  halves.units[1].Act(2, 2, Untie::kCopy);
  const SharingPlan plan = PlanOfTies(config, IdentityPlan(config), halves, {});
  plan.Validate(config);
  EXPECT_THAT(plan[Module::kQ].blocks, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(plan[Module::kDown].blocks, ElementsAre(0, 0, 1, 0));
  EXPECT_THAT(plan[Module::kFfnNorm].blocks, ElementsAre(0, 0, 1, 0));
  const TieState modules = StartTies(config, TieUnits::kModule, TieStart::kTied, false);
  EXPECT_EQ(modules.units.size(), 7u);  // norms stay each layer's own
  EXPECT_EQ(modules.Vector().size(), 7u * 4);
}

}  // namespace
}  // namespace rondo
