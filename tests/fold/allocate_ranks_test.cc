#include "fold/allocate_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fold/held_out.h"
#include "fold/random_model.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Ne;

// Loss of a choice, by the same interpolation: curves given at every rank need none.
double LossOf(const std::vector<RankCurve>& curves, const std::vector<int>& ranks) {
  double loss = 0;
  for (size_t i = 0; i < curves.size(); ++i) {
    loss += curves[i].losses[static_cast<size_t>(ranks[i])].second;
  }
  return loss;
}

TEST(SpreadRanks, NoChoiceWithinTheBudgetIsBetter) {
  // Convex curves and one price: what is taken step by step is then the optimum of all choices.
  std::vector<RankCurve> curves;
  for (const double decay : {0.9, 0.5, 0.7}) {
    RankCurve curve{.losses = {}, .parameters = 10};
    for (int rank = 0; rank <= 6; ++rank) {
      curve.losses.emplace_back(rank, (1 + decay) * std::pow(decay, rank));
    }
    curves.push_back(std::move(curve));
  }
  for (int64_t budget = 0; budget <= 200; budget += 7) {
    const std::vector<int> ranks = SpreadRanks(curves, budget, 1);
    ASSERT_LE(10 * (ranks[0] + ranks[1] + ranks[2]), budget);
    double best = 1e9;
    for (int a = 0; a <= 6; ++a) {
      for (int b = 0; b <= 6; ++b) {
        for (int c = 0; c <= 6; ++c) {
          if (10 * (a + b + c) <= budget) best = std::min(best, LossOf(curves, {a, b, c}));
        }
      }
    }
    EXPECT_NEAR(LossOf(curves, ranks), best, 1e-12) << budget;
  }
}

TEST(SpreadRanks, LooksBeyondAStepThatGainsNothing) {
  // Nothing at rank 1, everything at rank 2: worth two ranks elsewhere.
  const std::vector<RankCurve> curves = {{{{0, 9}, {1, 9}, {2, 0}}, 1},
                                         {{{0, 4}, {1, 3}, {2, 2}}, 1}};
  EXPECT_THAT(SpreadRanks(curves, 2, 1), ElementsAre(2, 0));
  EXPECT_THAT(SpreadRanks(curves, 3, 1), ElementsAre(2, 1));
}

TEST(SpreadRanks, GivesNothingToWhatLosesNothing) {
  const std::vector<RankCurve> curves = {{{{0, 0}, {4, 0}}, 1}, {{{0, 8}, {4, 1}, {8, 0.5}}, 2}};
  EXPECT_THAT(SpreadRanks(curves, 100, 2), ElementsAre(0, 8));
}

TEST(SpreadRanks, PricesAreParameters) {
  // The same loss for a tenth of the parameters.
  const std::vector<RankCurve> curves = {{{{0, 8}, {4, 1}}, 10}, {{{0, 8}, {4, 1}}, 1}};
  EXPECT_THAT(SpreadRanks(curves, 10, 1), ElementsAre(0, 4));
}

FoldOptions PairsOfRank(int rank) {
  FoldOptions fold;
  for (TieOrder& tie : fold.order) tie.order = "sequence";
  fold.rank = rank;
  return fold;
}

TEST(FoldCalibrated, GivesRanksWhereTheyAreNeeded) {
  ThreadPool pool(2);
  Model model = RandomModel(LlamaConfig(4), 1);
  // What leaves attention at depths 0 and 1 is nothing, so nothing before it matters.
  for (const int depth : {0, 1}) {
    const Tensor& o = model.weights.Get(BlockTensor(depth, Module::kO));
    model.weights.Set(BlockTensor(depth, Module::kO),
                      Tensor::FromF32(o.shape(), std::vector<float>(24 * 24)));
  }
  const auto tokens = RandomTokens(600, model.config.vocab, 6);
  const FoldOptions fold = PairsOfRank(4);
  const SharingPlan plan = MakePlan(model.config, fold);
  CalibrateOptions options = {.context = 16, .max_tokens = 512};
  options.allocate_ranks = true;
  for (const ResidualKind kind :
       {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora}) {
    SharingPlan own = plan;
    for (ModulePlan& module : own.modules) {
      if (module.residual == ResidualKind::kLora) module.residual = kind;
    }
    const Model folded = FoldCalibrated(model, own, fold, tokens, options, pool);
    const int64_t parameters = CountParameters(folded.config, folded.plan).residual;
    const int64_t planned = CountParameters(model.config, own).residual;
    EXPECT_LE(parameters, planned);
    EXPECT_GE(parameters, planned * 9 / 10);
    // Half of what was planned is the least.
    EXPECT_EQ(folded.plan[Module::kQ].ranks[0], 2);
    EXPECT_EQ(folded.plan[Module::kV].ranks[1], 2);
    EXPECT_EQ(folded.plan[Module::kUp].ranks[2], folded.plan[Module::kUp].ranks[3]);
    EXPECT_THAT(folded.plan[Module::kDown].ranks, Contains(Ne(4)));
  }
}

TEST(FoldCalibrated, RefusesToSpreadRanksThatThereAreNot) {
  ThreadPool pool(1);
  const Model model = RandomModel(LlamaConfig(4), 1);
  FoldOptions fold = PairsOfRank(4);
  fold.residual = ResidualKind::kMulDiag;
  CalibrateOptions options = {.context = 16, .max_tokens = 64};
  options.allocate_ranks = true;
  EXPECT_THROW(FoldCalibrated(model, MakePlan(model.config, fold), fold,
                              RandomTokens(80, model.config.vocab, 6), options, pool),
               Error);
}

}  // namespace
}  // namespace rondo
