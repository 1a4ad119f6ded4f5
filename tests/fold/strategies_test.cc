#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fold/random_model.h"
#include "fold/shared_init.h"
#include "rondo/error.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> Map(const char* order, int depths, int loops, int first = 1, int last = 1) {
  return TieMap({.order = order, .loops = loops, .keep_first = first, .keep_last = last}, depths);
}

TEST(TieMapTest, Orders) {
  EXPECT_THAT(Map("identity", 4, 2), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Map("cycle", 6, 2), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(Map("sequence", 6, 2), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(Map("middle-cycle", 6, 2), ElementsAre(0, 1, 2, 1, 2, 3));
  EXPECT_THAT(Map("middle-sequence", 6, 2), ElementsAre(0, 1, 1, 2, 2, 3));
  EXPECT_THAT(Map("middle-cycle", 7, 2, 2, 1), ElementsAre(0, 1, 2, 3, 2, 3, 4));
  EXPECT_THAT(Map("middle-sequence", 6, 3, 0, 3), ElementsAre(0, 0, 0, 1, 2, 3));
  EXPECT_THAT(Map("cycle", 4, 4), Each(0));
  EXPECT_THAT(Map("sequence", 3, 1), ElementsAre(0, 1, 2));
}

TEST(TieMapTest, UnevenDivisionsLeaveTheEndShort) {
  EXPECT_THAT(Map("cycle", 7, 3), ElementsAre(0, 1, 2, 0, 1, 2, 0));
  EXPECT_THAT(Map("sequence", 7, 3), ElementsAre(0, 0, 0, 1, 1, 1, 2));
  EXPECT_THAT(Map("middle-sequence", 7, 2), ElementsAre(0, 1, 1, 2, 2, 3, 4));
  const std::vector<int> thirty = Map("cycle", 30, 4);
  EXPECT_EQ(thirty[7], 7);
  EXPECT_EQ(thirty[8], 0);
  EXPECT_EQ(thirty[29], 5);
}

TEST(TieMapTest, CustomLabelsAreRenumbered) {
  EXPECT_THAT(TieMap({.order = "custom", .blocks = {9, 4, 9, 0}}, 4), ElementsAre(0, 1, 0, 2));
  EXPECT_THROW(TieMap({.order = "custom", .blocks = {0, 1}}, 3), Error);
  EXPECT_THROW(TieMap({.order = "custom", .blocks = {0, -1, 0}}, 3), Error);
}

TEST(TieMapTest, OptionsThatMakeNoSenseAreNamed) {
  const auto message = [](const TieOrder& order) -> std::string {
    try {
      TieMap(order, 6);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({.order = "cylce"}), HasSubstr("cycle"));
  EXPECT_THAT(message({.order = "cycle", .loops = 0}), HasSubstr("loops"));
  EXPECT_THAT(message({.order = "cycle", .loops = 7}), HasSubstr("loops"));
  EXPECT_THAT(message({.order = "middle-cycle", .loops = 5}), HasSubstr("loops"));
  EXPECT_THAT(message({.order = "middle-cycle", .keep_first = -1}), HasSubstr("keep_first"));
  EXPECT_THAT(message({.order = "middle-cycle", .keep_first = 3, .keep_last = 3}),
              HasSubstr("keep_first"));
  EXPECT_THAT(message({.order = "middle-cycle", .keep_first = 2147483647, .keep_last = 1}),
              HasSubstr("keep_first"));
}

TEST(TieOrdersFromTextTest, GroupsCommentsAndOverrides) {
  const auto orders = TieOrdersFromText("# pairs\nall: 0 0, 1 1\r\n\n ffn: 3 2 1 0 # own\n", "t");
  EXPECT_THAT(orders[0].blocks, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(orders[1].blocks, ElementsAre(3, 2, 1, 0));
  EXPECT_THAT(orders[2].blocks, ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(orders[0].order, "custom");
  EXPECT_EQ(TieOrdersFromText("ffn: 0 0", "t")[0].order, "identity");
  for (const char* bad : {"0 1 0 1", "heads: 0 1", "all: 0 x", "all: -1", "all: 99999999999"}) {
    EXPECT_THROW(TieOrdersFromText(bad, "t"), Error) << bad;
  }
}

// Layers that init picks, one a block.
std::vector<int> Picks(const std::vector<int>& blocks, InitKind init) {
  std::vector<int> picks;
  for (const std::vector<int>& sources : SourceDepths(blocks, init)) {
    EXPECT_EQ(sources.size(), 1u);
    picks.push_back(sources[0]);
  }
  return picks;
}

// The layers printed for Gemma-2B, TinyLlama and Pythia-1B (methods.md, section 1).
TEST(SourceDepthsTest, StepwiseAsPublished) {
  EXPECT_THAT(Picks(Map("cycle", 18, 2), InitKind::kStepwise),
              ElementsAre(0, 2, 4, 6, 8, 11, 13, 15, 17));
  EXPECT_THAT(Picks(Map("cycle", 18, 3), InitKind::kStepwise), ElementsAre(0, 3, 7, 10, 14, 17));
  EXPECT_THAT(Picks(Map("cycle", 22, 2), InitKind::kStepwise),
              ElementsAre(0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21));
  EXPECT_THAT(Picks(Map("cycle", 16, 2), InitKind::kStepwise),
              ElementsAre(0, 2, 4, 6, 9, 11, 13, 15));
  EXPECT_THAT(Picks(Map("cycle", 6, 2), InitKind::kStepwise), ElementsAre(0, 2, 5));
}

TEST(SourceDepthsTest, LowerUpperAndAverage) {
  EXPECT_THAT(Picks(Map("cycle", 6, 2), InitKind::kLower), ElementsAre(0, 1, 2));
  EXPECT_THAT(Picks(Map("cycle", 6, 2), InitKind::kUpper), ElementsAre(3, 4, 5));
  EXPECT_THAT(SourceDepths(Map("cycle", 4, 2), InitKind::kAverage),
              ElementsAre(ElementsAre(0, 2), ElementsAre(1, 3)));
  EXPECT_THAT(SourceDepths(Map("sequence", 4, 2), InitKind::kAverage),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
}

TEST(SourceDepthsTest, BlocksOfOneDepthAreThatLayerAndTheRestIsChosenFromTheSharedPart) {
  const std::vector<int> middle = Map("middle-cycle", 8, 2);
  EXPECT_THAT(Picks(middle, InitKind::kStepwise),
              ElementsAre(0, 1, 3, 6, 7));  // 1 + round(0, 2.5, 5)
  EXPECT_THAT(Picks(middle, InitKind::kLower), ElementsAre(0, 1, 2, 3, 7));
  EXPECT_THAT(Picks(middle, InitKind::kUpper), ElementsAre(0, 4, 5, 6, 7));
  EXPECT_THAT(
      SourceDepths(middle, InitKind::kRandom),
      ElementsAre(ElementsAre(0), ElementsAre(), ElementsAre(), ElementsAre(), ElementsAre(7)));
}

FoldOptions Options(const char* order, int loops, int rank) {
  FoldOptions options;
  for (TieOrder& o : options.order) o = {.order = order, .loops = loops};
  options.rank = rank;
  return options;
}

TEST(MakePlanTest, GroupsRanksAndPolicies) {
  const ModelConfig config = PythiaConfig(6);
  FoldOptions options = Options("middle-cycle", 2, 64);
  options.order[static_cast<size_t>(ModuleGroup::kFfn)].order = "sequence";
  options.module_ranks[Module::kO] = 3;
  const SharingPlan plan = MakePlan(config, options);
  EXPECT_THAT(plan[Module::kQ].blocks, ElementsAre(0, 1, 2, 1, 2, 3));
  EXPECT_THAT(plan[Module::kDown].blocks, ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(plan[Module::kAttnNorm].blocks, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(plan[Module::kQ].ranks, ElementsAre(0, 24, 24, 24, 24, 0));
  EXPECT_THAT(plan[Module::kO].ranks, ElementsAre(0, 3, 3, 3, 3, 0));
  EXPECT_TRUE(plan[Module::kQ].own_bias);
  EXPECT_EQ(plan.loops, 2);
}

TEST(MakePlanTest, IdentityIsThePlainPlan) {
  SharingPlan plan = MakePlan(LlamaConfig(5), Options("identity", 2, 8));
  EXPECT_EQ(plan, IdentityPlan(LlamaConfig(5)));
}

TEST(MakePlanTest, NormsTiedOrAbsorbed) {
  FoldOptions options = Options("cycle", 2, 4);
  options.norms = NormPolicy::kTied;
  EXPECT_THAT(MakePlan(GemmaConfig(4), options)[Module::kQNorm].blocks, ElementsAre(0, 1, 0, 1));
  options.norms = NormPolicy::kAbsorb;
  const SharingPlan plan = MakePlan(GemmaConfig(4), options);
  EXPECT_THAT(plan[Module::kAttnNorm].blocks, Each(kAbsorbed));
  EXPECT_THAT(plan[Module::kFfnNorm].blocks, Each(kAbsorbed));
  EXPECT_THAT(plan[Module::kPostAttnNorm].blocks, ElementsAre(0, 1, 2, 3));
}

TEST(MakePlanTest, KroneckerRanksAreClippedToTheRearrangedMatrix) {
  FoldOptions options = Options("cycle", 2, 1 << 20);
  options.residual = ResidualKind::kKronecker;
  // q [24, 24]: first factor [4, 6], second [6, 4], so the rearranged matrix is [24, 24].
  EXPECT_THAT(MakePlan(LlamaConfig(4), options)[Module::kQ].ranks, Each(24));
}

TEST(MakePlanTest, RefusesWhatDoesNotFit) {
  FoldOptions options = Options("cycle", 2, -1);
  EXPECT_THROW(MakePlan(LlamaConfig(4), options), Error);
  options = Options("cycle", 2, 4);
  options.module_ranks = {{Module::kGate, 4}};
  EXPECT_THROW(MakePlan(PythiaConfig(4), options), Error);
  options.module_ranks = {{Module::kAttnNorm, 4}};
  EXPECT_THROW(MakePlan(LlamaConfig(4), options), Error);
  ModelConfig no_bias = PythiaConfig(4);
  no_bias.qkv_bias = false;
  options = Options("cycle", 2, 4);
  options.norms = NormPolicy::kAbsorb;
  EXPECT_THROW(MakePlan(no_bias, options), Error);
  EXPECT_NO_THROW(MakePlan(PythiaConfig(4), options));
}

}  // namespace
}  // namespace rondo
