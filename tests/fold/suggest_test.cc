#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fold/random_model.h"
#include "fold/suggest_pairs.h"
#include "rondo/calibrate.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;
using testing::SizeIs;

TEST(BestPairs, FindsDisjointPairsOfLeastCost) {
  // Greedy would take (1, 2) first and be left with dear neighbours.
  const std::vector<double> cost = {2, 1, 2, 9, 3};
  const auto choices = BestPairs(cost);
  ASSERT_THAT(choices, SizeIs(4));
  EXPECT_THAT(choices[0].firsts, testing::IsEmpty());
  EXPECT_THAT(choices[1].firsts, ElementsAre(1));
  EXPECT_THAT(choices[2].firsts, testing::AnyOf(ElementsAre(0, 2), ElementsAre(1, 4)));
  EXPECT_DOUBLE_EQ(choices[2].cost, 4);
  EXPECT_THAT(choices[3].firsts, ElementsAre(0, 2, 4));
  EXPECT_DOUBLE_EQ(choices[3].cost, 7);
}

TEST(BlocksOfPairs, SharesInPairs) {
  EXPECT_THAT(BlocksOfPairs({1, 4}, 6), ElementsAre(0, 1, 1, 2, 3, 3));
}

std::vector<int32_t> RandomTokens(int count, int vocab) {
  Rng rng(3);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(rng.Next() % vocab));
  return tokens;
}

// Layers 1 and 2 are the same: tying them is free, and every other tie is not.
TEST(Suggest, TiesTheTwinsFirst) {
  ThreadPool pool(2);
  Model model = RandomModel(LlamaConfig(5), 1);
  for (const Module m : kAllModules) {
    if (!model.config.HasModule(m)) continue;
    model.weights.Set(BlockTensor(2, m), model.weights.Get(BlockTensor(1, m)));
  }
  FoldOptions fold;
  fold.residual = ResidualKind::kLora;
  fold.rank = 1;
  SuggestOptions options;
  options.calibrate = {.context = 16, .max_tokens = 256};
  options.tie_tokens = 24;
  options.evaluation_tokens = 64;
  options.points = 3;
  const SuggestReport report =
      Suggest(model, fold, RandomTokens(400, model.config.vocab), options, pool);

  ASSERT_THAT(report.similarity, SizeIs(25));
  ASSERT_THAT(report.tie_loss, SizeIs(25));
  for (size_t d = 0; d < 5; ++d) {
    EXPECT_NEAR(report.similarity[d * 5 + d], 1, 1e-9);
    EXPECT_EQ(report.tie_loss[d * 5 + d], 0);
  }
  // KL of equal functions: rounding of f32 logits of size ~10 over 17 words.
  EXPECT_NEAR(report.tie_loss[1 * 5 + 2], 0, 1e-5);
  EXPECT_NEAR(report.attention_tie_loss[1], 0, 1e-5);
  EXPECT_NEAR(report.ffn_tie_loss[1], 0, 1e-5);
  EXPECT_GT(report.ffn_tie_loss[0], 1e-3);

  ASSERT_FALSE(report.suggestions.empty());
  const Suggestion& first = report.suggestions.front();
  EXPECT_EQ(first.plan[Module::kUp].blocks[1], first.plan[Module::kUp].blocks[2]);
  int64_t size = CountParameters(model.config, model.plan).NonEmbedding();
  for (const Suggestion& suggestion : report.suggestions) {
    suggestion.plan.Validate(model.config);
    EXPECT_LT(suggestion.non_embedding_parameters, size);
    size = suggestion.non_embedding_parameters;
    EXPECT_EQ(size, CountParameters(model.config, suggestion.plan).NonEmbedding());
    EXPECT_GT(suggestion.perplexity, 1);
  }
}

// Ties are measured on the calibration part: how much text is held out does not matter to them.
TEST(Suggest, TieLossDoesNotDependOnTheHeldOutLength) {
  ThreadPool pool(2);
  const Model model = RandomModel(LlamaConfig(3), 4);
  FoldOptions fold;
  fold.rank = 1;
  SuggestOptions options;
  options.calibrate = {.context = 16, .max_tokens = 64};
  options.tie_tokens = 24;
  options.points = 1;
  const auto tokens = RandomTokens(400, model.config.vocab);
  const auto tie_loss = [&](int64_t held_out) {
    options.evaluation_tokens = held_out;
    return Suggest(model, fold, tokens, options, pool).tie_loss;
  };
  EXPECT_EQ(tie_loss(4), tie_loss(64));
}

TEST(Suggest, RefusesAFoldedModelAtOnceAndNamesTheRemedy) {
  ThreadPool pool(1);
  const Model model = RandomModel(LlamaConfig(4), 2);
  FoldOptions fold;
  fold.rank = 1;
  const Model folded = Fold(model, MakePlan(model.config, fold), fold, pool);
  try {
    Suggest(folded, fold, {}, {}, pool);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(error.info().problem.find("folded already"), std::string::npos) << error.what();
    EXPECT_NE(error.info().expected.find("rondo export"), std::string::npos) << error.what();
  }
}

TEST(Suggest, RefusesTooLittleTextAndUselessRanks) {
  ThreadPool pool(1);
  const Model model = RandomModel(LlamaConfig(3), 2);
  FoldOptions fold;
  fold.rank = 1;
  EXPECT_THROW(Suggest(model, fold, RandomTokens(4, 17), {}, pool), Error);
  fold.rank = 24;  // residuals as large as what they save
  SuggestOptions options;
  options.calibrate.context = 16;
  EXPECT_THROW(Suggest(model, fold, RandomTokens(100, 17), options, pool), Error);
}

}  // namespace
}  // namespace rondo
