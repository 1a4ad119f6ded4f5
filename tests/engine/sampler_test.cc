#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "rondo/error.h"
#include "rondo/generate.h"

namespace rondo {
namespace {

using testing::ElementsAre;

constexpr int kDraws = 20000;

// How often each token is drawn from the same logits.
std::map<int32_t, double> Frequencies(const SamplingOptions& options,
                                      const std::vector<float>& logits) {
  Sampler sampler(options);
  std::map<int32_t, double> counts;
  for (int i = 0; i < kDraws; ++i) counts[sampler.Sample(logits)] += 1.0 / kDraws;
  return counts;
}

std::set<int32_t> Support(const SamplingOptions& options, const std::vector<float>& logits) {
  std::set<int32_t> tokens;
  for (const auto& [token, share] : Frequencies(options, logits)) tokens.insert(token);
  return tokens;
}

std::vector<float> Logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, GreedyTakesTheLargestAndTheFirstOfEquals) {
  Sampler sampler({});
  EXPECT_EQ(sampler.Sample(std::vector<float>{1, 3, 2}), 1);
  EXPECT_EQ(sampler.Sample(std::vector<float>{1, 3, 3}), 1);
  const float low = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(sampler.Sample(std::vector<float>{low, -5, low}), 1);
}

// The standard deviation of a share p of n draws is sqrt(p(1-p)/n) <= 0.0036; five of them.
TEST(Sampler, TemperatureShapesTheDistribution) {
  const std::vector<double> p = {0.1, 0.2, 0.3, 0.4};
  for (const double temperature : {0.5, 1.0, 2.0}) {
    auto shares = Frequencies({.temperature = static_cast<float>(temperature)}, Logs(p));
    double sum = 0;
    for (const double value : p) sum += std::pow(value, 1 / temperature);
    for (int i = 0; i < 4; ++i) {
      EXPECT_NEAR(shares[i], std::pow(p[i], 1 / temperature) / sum, 0.018) << temperature;
    }
  }
}

TEST(Sampler, TopKKeepsTheMostProbableAndEqualsOfTheLast) {
  EXPECT_THAT(Support({.temperature = 1, .top_k = 2}, Logs({0.1, 0.2, 0.3, 0.4})),
              ElementsAre(2, 3));
  EXPECT_THAT(Support({.temperature = 1, .top_k = 2}, Logs({0.2, 0.4, 0.2, 0.2})),
              ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Support({.temperature = 1, .top_k = 99}, Logs({0.5, 0.5})), ElementsAre(0, 1));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = Logs({0.1, 0.2, 0.3, 0.4});
  EXPECT_THAT(Support({.temperature = 1, .top_p = 0.39f}, logits), ElementsAre(3));
  EXPECT_THAT(Support({.temperature = 1, .top_p = 0.41f}, logits), ElementsAre(2, 3));
  EXPECT_THAT(Support({.temperature = 1, .top_p = 0.71f}, logits), ElementsAre(1, 2, 3));
  EXPECT_THAT(Support({.temperature = 1, .top_p = 1e-6f}, logits), ElementsAre(3));
}

TEST(Sampler, MinPIsRelativeToTheMostProbable) {
  const std::vector<float> logits = Logs({0.1, 0.19, 0.31, 0.4});
  EXPECT_THAT(Support({.temperature = 1, .min_p = 0.5f}, logits), ElementsAre(2, 3));
  EXPECT_THAT(Support({.temperature = 1, .min_p = 1.0f}, logits), ElementsAre(3));
}

// Temperature comes first: at 0.5 the same probabilities become 1/30, 4/30, 9/30, 16/30.
TEST(Sampler, FiltersSeeTemperedProbabilities) {
  const std::vector<float> logits = Logs({0.1, 0.2, 0.3, 0.4});
  EXPECT_THAT(Support({.temperature = 0.5f, .top_p = 0.52f}, logits), ElementsAre(3));
  EXPECT_THAT(Support({.temperature = 1, .top_p = 0.52f}, logits), ElementsAre(2, 3));
}

// After top-k leaves 3/7 and 4/7, top-p works on these.
TEST(Sampler, TopPSeesWhatTopKLeft) {
  const std::vector<float> logits = Logs({0.1, 0.2, 0.3, 0.4});
  EXPECT_THAT(Support({.temperature = 1, .top_k = 2, .top_p = 0.5f}, logits), ElementsAre(3));
  EXPECT_THAT(Support({.temperature = 1, .top_k = 2, .top_p = 0.6f}, logits), ElementsAre(2, 3));
}

TEST(Sampler, RepetitionPenaltyLowersSeenTokensOfEitherSign) {
  const std::vector<int32_t> prompt = {0, 2, 77, -1};
  Sampler sampler({.repetition_penalty = 2}, prompt);
  EXPECT_EQ(sampler.Sample(std::vector<float>{3, 2, -1, -1.5f}), 1);    // 3/2 < 2
  EXPECT_EQ(sampler.Sample(std::vector<float>{-9, -9, -1, -1.5f}), 3);  // 2 · -1 < -1.5
  EXPECT_EQ(sampler.Sample(std::vector<float>{-9, 3, -9, 1.6f}), 1);    // both drawn: 1.5 > 0.8
}

TEST(Sampler, RepetitionWindowForgets) {
  const std::vector<int32_t> prompt = {0, 1};
  Sampler sampler({.repetition_penalty = 2, .repetition_window = 1}, prompt);
  EXPECT_EQ(sampler.Sample(std::vector<float>{3, 4, 0}), 0);  // only 1 is penalised
  EXPECT_EQ(sampler.Sample(std::vector<float>{3, 4, 0}), 1);  // now only 0
}

TEST(Sampler, SeedDecides) {
  const std::vector<float> logits(100, 0.0f);
  const auto draw = [&](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(sampler.Sample(logits));
    return tokens;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
  // Fixed for ever: a stored seed keeps its text across releases.
  Sampler sampler({.temperature = 1, .seed = 42});
  EXPECT_EQ(sampler.Sample(logits), 81);
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  EXPECT_THAT(Support({.temperature = 1e-40f}, {1, 300, 2}), ElementsAre(1));
}

TEST(Sampler, RefusesOptionsOutOfRangeByName) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::pair<SamplingOptions, const char*>> cases = {
      {{.repetition_penalty = 0}, "repetition_penalty"},
      {{.repetition_penalty = nan}, "repetition_penalty"},
      {{.repetition_window = -1}, "repetition_window"},
      {{.temperature = -1}, "temperature"},
      {{.temperature = nan}, "temperature"},
      {{.top_k = -1}, "top_k"},
      {{.top_p = 0}, "top_p"},
      {{.top_p = 1.5f}, "top_p"},
      {{.min_p = -0.1f}, "min_p"},
      {{.min_p = nan}, "min_p"}};
  for (const auto& [options, field] : cases) {
    try {
      Sampler sampler(options);
      FAIL() << field;
    } catch (const Error& error) {
      EXPECT_EQ(error.info().field, field);
    }
  }
}

// Drafts from one distribution, verified against another: what comes out is distributed as the
// target. Frequencies of n draws deviate by sqrt(p (1 - p) / n); five of those are missed once in a
// million.
TEST(Sampler, VerifiedDraftsAreDistributedAsTheTarget) {
  const TokenDistribution target = {{3, 0.5}, {1, 0.3}, {7, 0.15}, {2, 0.05}};
  const TokenDistribution drafts[] = {
      {{3, 0.1}, {1, 0.2}, {9, 0.6}, {2, 0.1}}, {{7, 1}}, {{9, 1}}, target};
  for (const TokenDistribution& draft : drafts) {
    Sampler sampler({.temperature = 1, .seed = 5});
    std::map<int32_t, int> seen;
    for (int i = 0; i < kDraws; ++i) ++seen[sampler.Verify(sampler.Draw(draft), draft, target)];
    for (const auto& [token, p] : target) {
      EXPECT_NEAR(seen[token] / static_cast<double>(kDraws), p,
                  5 * std::sqrt(p * (1 - p) / kDraws));
    }
    EXPECT_EQ(seen.size(), target.size());
  }
}

TEST(Sampler, VerifyIsExactForGreedyChoices) {
  Sampler sampler({});
  EXPECT_EQ(sampler.Verify(4, {{4, 1}}, {{4, 1}}), 4);
  EXPECT_EQ(sampler.Verify(4, {{4, 1}}, {{6, 1}}), 6);
}

TEST(Sampler, ForgottenTokensAreNoLongerPenalised) {
  const std::vector<float> logits = {1, 2, 3};
  Sampler sampler({.repetition_penalty = 10}, std::vector<int32_t>{0});
  sampler.Remember(2);
  EXPECT_EQ(sampler.Distribute(logits)[0].token, 1);
  sampler.Forget(1);
  EXPECT_EQ(sampler.Distribute(logits)[0].token, 2);
}

TEST(Sampler, RefusesLogitsThatAreNotNumbers) {
  Sampler sampler({});
  EXPECT_THROW(sampler.Sample(std::vector<float>{0, std::nanf("")}), Error);
  EXPECT_THROW(sampler.Sample({}), Error);
}

}  // namespace
}  // namespace rondo
