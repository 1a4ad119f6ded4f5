#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "engine/letter_tokenizer.h"
#include "engine/random_model.h"
#include "eval/bench.h"
#include "rondo/error.h"
#include "rondo/eval.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

class DepthBatchingTest : public testing::Test {
 protected:
  ThreadPool pool_{1};
  // Blocks 0 and 1, three times.
  const Engine engine_{
      RandomModel(LoopedConfig(), CyclePlan(LoopedConfig(), 2, ResidualKind::kLora, 2)), {}, pool_};
  LetterTokenizer tokenizer_;
};

TEST_F(DepthBatchingTest, MeasuresAllFourWithTheSharesAskedFor) {
  const DepthBatchingResult result = BenchDepthBatching(
      engine_, tokenizer_,
      {.sequences = 4, .prompt = 3, .new_tokens = 50, .share = {0.5, 0.25, 0.25}, .repeat = 2});
  for (const Rates& rates :
       {result.sequences_full, result.sequences_exits, result.depths_full, result.depths_exits}) {
    EXPECT_GT(rates.min, 0);
    EXPECT_LE(rates.min, rates.median);
    EXPECT_LE(rates.median, rates.max);
  }
  // 8 requests of 50 tokens, of which the first runs all loops: 1.75 + 1.25 / 50, and the deviation
  // of 392 draws whose own is 0.83, five times over.
  EXPECT_NEAR(result.mean_loops, 1.775, 5 * 0.83 / std::sqrt(392));
}

TEST_F(DepthBatchingTest, TheModelsOwnExitsDecideOnText) {
  const std::vector<int32_t> text = RandomTokens(30, 50);
  DepthBatchingOptions options{
      .sequences = 2, .prompt = 12, .new_tokens = 20, .text = text, .repeat = 1};
  options.exit = {.rule = ExitRule::kConfidence, .threshold = 0};
  // All but the first token of each request leave after the first loop.
  EXPECT_NEAR(BenchDepthBatching(engine_, tokenizer_, options).mean_loops, (3 + 19) / 20.0, 1e-12);
  options.exit.threshold = 1;
  EXPECT_EQ(BenchDepthBatching(engine_, tokenizer_, options).mean_loops, 3);
  options.text = {};
  EXPECT_THROW(BenchDepthBatching(engine_, tokenizer_, options), Error);
}

TEST(Rates, MedianOfAnEvenNumberIsBetween) {
  const Rates rates = RatesOf({4, 1, 3, 10});
  EXPECT_EQ(rates.min, 1);
  EXPECT_EQ(rates.median, 3.5);
  EXPECT_EQ(rates.max, 10);
  EXPECT_EQ(RatesOf({}).median, 0);
}

// Exact keys and values make the text's perplexity that of Perplexity(); with exits by a trace of
// the full number of loops nothing changes.
TEST_F(DepthBatchingTest, PerplexityIsOfTheSameTokensAsSpeed) {
  std::vector<int32_t> text;
  for (int i = 0; i < 60; ++i) text.push_back((i * 7 + 3) % engine_.config().vocab);
  DepthBatchingOptions options{
      .sequences = 2, .prompt = 5, .new_tokens = 10, .text = text, .follow_text = true};
  options.requests = 4;
  options.repeat = 1;
  options.share = std::vector<double>(static_cast<size_t>(engine_.loops().loops), 0.0);
  options.share.back() = 1;
  const DepthBatchingResult whole = BenchDepthBatching(engine_, tokenizer_, options);
  double loss = 0;
  for (int i = 0; i < 4; ++i) {
    const std::span<const int32_t> piece = options.text.subspan(static_cast<size_t>(i) * 15, 15);
    const PerplexityResult all = Perplexity(engine_, piece, {.context = 15});
    const PerplexityResult prompt = Perplexity(engine_, piece.first(5), {.context = 5});
    loss +=
        all.nll * static_cast<double>(all.tokens) - prompt.nll * static_cast<double>(prompt.tokens);
  }
  EXPECT_NEAR(whole.perplexity_full, std::exp(loss / 40), 1e-4 * whole.perplexity_full);
  EXPECT_EQ(whole.perplexity_exits, whole.perplexity_full);

  options.share = {1};
  options.share.resize(static_cast<size_t>(engine_.loops().loops));
  const DepthBatchingResult early = BenchDepthBatching(engine_, tokenizer_, options);
  EXPECT_EQ(early.perplexity_full, whole.perplexity_full);
  EXPECT_NE(early.perplexity_exits, whole.perplexity_full);

  options.requests = 5;
  EXPECT_THROW(BenchDepthBatching(engine_, tokenizer_, options), Error);
}

TEST_F(DepthBatchingTest, RefusesWhatMakesNoSense) {
  const auto run = [&](const DepthBatchingOptions& options) {
    BenchDepthBatching(engine_, tokenizer_, options);
  };
  EXPECT_THROW(run({.sequences = 0}), Error);
  EXPECT_THROW(run({.prompt = 0}), Error);
  EXPECT_THROW(run({.sequences = 5000}), Error);
  EXPECT_THROW(run({.prompt = 2'000'000'000, .new_tokens = 2'000'000'000}), Error);
  EXPECT_THROW(run({.share = {1, 1}}), Error);
  EXPECT_THROW(run({.share = {0, 0, 0}}), Error);
  EXPECT_THROW(run({.share = {1, -1, 1}}), Error);
  const Engine plain(RandomModel(LoopedConfig()), {}, pool_);
  EXPECT_THROW(BenchDepthBatching(plain, tokenizer_, {}), Error);
}

}  // namespace
}  // namespace rondo
