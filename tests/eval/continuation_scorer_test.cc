#include "eval/continuation_scorer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/letter_tokenizer.h"
#include "engine/random_model.h"
#include "eval/logits.h"
#include "kernels/log_softmax.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

ModelConfig LongConfig(int layers = 4) {
  ModelConfig config = SmallConfig();
  config.layers = layers;
  config.max_positions = 1024;
  return config;
}

// Depth 0, blocks 1 and 2 twice, depth 5.
SharingPlan MiddlePlan(const ModelConfig& config) {
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kLora, 2);
  for (const Module m : kAllModules) {
    if (config.HasModule(m)) plan[m].blocks = {0, 1, 2, 1, 2, 3};
  }
  return plan;
}

TokenRow Row(int context, int continuation, uint64_t seed) {
  const std::vector<int32_t> all = RandomTokens(context + continuation, 50, seed);
  return {.input = {all.begin(), all.end() - 1}, .targets = {all.begin() + context, all.end()}};
}

// Rows of these continuation lengths after one context.
TokenRows Example(int context, const std::vector<int>& continuations, uint64_t seed) {
  TokenRows rows;
  for (const int length : continuations) {
    TokenRow row = Row(context, length, seed + rows.size() + 1);
    const std::vector<int32_t> shared = RandomTokens(context, 50, seed);
    std::copy_n(shared.begin(), std::min(shared.size(), row.input.size()), row.input.begin());
    rows.push_back(std::move(row));
  }
  return rows;
}

ContinuationScore Alone(const Engine& engine, const TokenRow& row) {
  KvCache cache = engine.NewCache(1024);
  ContinuationScore score;
  const int64_t first = static_cast<int64_t>(row.input.size() - row.targets.size());
  ForEachLogits(engine, cache, row.input, [&](int64_t position, std::span<const float> logits) {
    if (position < first) return;
    const int32_t target = row.targets[static_cast<size_t>(position - first)];
    score.log_likelihood += logits[static_cast<size_t>(target)] - LogSumExp(logits);
    score.greedy &= std::ranges::max_element(logits) - logits.begin() == target;
  });
  return score;
}

class ContinuationScorerTest : public testing::Test {
 protected:
  ThreadPool pool_{2};
};

TEST_F(ContinuationScorerTest, ScoresAreThoseOfEachRowAlone) {
  const Model model = RandomModel(LongConfig());
  const Engine engine(model, {}, pool_);
  std::vector<TokenRows> examples = {Example(20, {1, 1, 1}, 10),
                                     Example(64, {3, 70, 5}, 20),
                                     Example(130, {9}, 30),
                                     Example(700, {40, 2}, 40),        // longer than one pass
                                     {Row(1, 4, 50), Row(6, 1, 60)}};  // nothing in common
  // A continuation that is another's beginning, and the greedy one.
  examples.push_back(examples[1]);
  examples.back()[0] = examples.back()[2];
  examples.back()[0].input.pop_back();
  examples.back()[0].targets.pop_back();
  KvCache cache = engine.NewCache(64);
  TokenRow greedy{.input = RandomTokens(12, 50, 3), .targets = {}};
  for (int i = 0; i < 3; ++i) {
    cache.Truncate(0);
    const auto logits = engine.Prefill(cache, greedy.input);
    greedy.targets.push_back(
        static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin()));
    if (i < 2) greedy.input.push_back(greedy.targets.back());
  }
  examples.push_back({greedy});
  ContinuationScorer scorer(engine, pool_, {1});
  const auto together = scorer.Score(examples);
  for (size_t e = 0; e < examples.size(); ++e) {
    const auto by_itself = scorer.Score(std::span(examples).subspan(e, 1));
    for (size_t r = 0; r < examples[e].size(); ++r) {
      const ContinuationScore expected = Alone(engine, examples[e][r]);
      EXPECT_EQ(together[e][0][r].log_likelihood, expected.log_likelihood) << e << " " << r;
      EXPECT_EQ(together[e][0][r].greedy, expected.greedy) << e << " " << r;
      EXPECT_EQ(by_itself[0][0][r].log_likelihood, expected.log_likelihood) << e << " " << r;
    }
  }
  EXPECT_TRUE(together.back()[0][0].greedy);
}

TEST_F(ContinuationScorerTest, LoopsScoreAsTheModelCutOffThere) {
  const ModelConfig config = LongConfig(6);
  const Model model = RandomModel(config, MiddlePlan(config));
  const Engine engine(model, {}, pool_);
  ASSERT_EQ(engine.loops(), (LoopShape{1, 2, 2, 1}));
  // Depths 0, 1, 2 and 5, as a model that shares nothing.
  Model cut{.config = LongConfig(4), .plan = {}, .weights = {}, .path = {}};
  cut.plan = IdentityPlan(cut.config);
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    cut.plan[m].residual = model.plan[m].residual;
    cut.plan[m].own_bias = model.plan[m].own_bias;
    if (!model.plan[m].ranks.empty()) cut.plan[m].ranks.assign(4, 2);
  }
  for (const TensorSpec& spec : ExpectedTensors(cut.config, cut.plan)) {
    std::string name = spec.name;
    if (name.starts_with("residual.3.")) name.replace(0, 11, "residual.5.");
    cut.weights.Set(spec.name, model.weights.Get(name));
  }
  const Engine cut_engine(cut, {}, pool_);
  const std::vector<TokenRows> examples = {Example(70, {1, 8}, 10), Example(600, {5, 1, 3}, 20)};
  const auto all = ContinuationScorer(engine, pool_, {1, 2}).Score(examples);
  const auto first = ContinuationScorer(engine, pool_, {1}).Score(examples);
  for (size_t e = 0; e < examples.size(); ++e) {
    for (size_t r = 0; r < examples[e].size(); ++r) {
      const double expected = Alone(cut_engine, examples[e][r]).log_likelihood;
      EXPECT_EQ(all[e][0][r].log_likelihood, expected);
      EXPECT_EQ(first[e][0][r].log_likelihood, expected);
      EXPECT_EQ(all[e][1][r].log_likelihood, Alone(engine, examples[e][r]).log_likelihood);
    }
  }
}

TEST_F(ContinuationScorerTest, RefusesLoopsAndTokensThatAreNotThere) {
  const Model model = RandomModel(LongConfig());
  const Engine engine(model, {}, pool_);
  for (const std::vector<int>& loops : std::vector<std::vector<int>>{{}, {0}, {2}, {1, 1}}) {
    EXPECT_THROW(ContinuationScorer(engine, pool_, loops), Error);
  }
  ContinuationScorer scorer(engine, pool_, {1});
  std::vector<TokenRows> examples = {{{.input = {1}, .targets = {50}}}};
  EXPECT_THROW(scorer.Score(examples), Error);
  examples[0][0].targets = {49};
  EXPECT_EQ(scorer.Score(examples).size(), 1u);
}

TEST(PairEncoderTest, CutsLongTextsAtTheirBeginning) {
  const LetterTokenizer letters;
  PairEncoder encoder(letters, 6);
  const auto row = [&](const std::string& context, const std::string& continuation) {
    return encoder.Encode(std::vector<ContinuationText>{{context, continuation}})[0];
  };
  const auto ids = [&](const char* text) { return letters.Encode(text, {}); };
  EXPECT_EQ(row("abcd", "efg").input, ids("abcdef"));  // six positions, and the last token
  EXPECT_EQ(row("abcde", "fgh").input, ids("bcdefg"));
  EXPECT_EQ(row("abcde", "fgh").targets, ids("fgh"));
  EXPECT_EQ(row("a", "bcdefg").input, ids("abcdef"));
  EXPECT_EQ(row("xyzabc", "defghi").input, ids("cdefgh"));
  EXPECT_EQ(row("", "ab").input, ids("za"));  // no BOS here: the end of text, z, begins
  EXPECT_THROW(row("a", "bcdefgh"), Error);
  EXPECT_THROW(row("a", ""), Error);
}

}  // namespace
}  // namespace rondo
