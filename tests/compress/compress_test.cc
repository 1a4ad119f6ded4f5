// The operators, the measuring of what they cost, the repair and the search.
#include "rondo/compress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/meter.h"
#include "compress/operator.h"
#include "compress/repair.h"
#include "compress/search.h"
#include "engine/engine_testing.h"
#include "rondo/error.h"
#include "rondo/eval.h"

namespace rondo {
namespace {

ModelConfig Config() {
  ModelConfig config = SmallConfig();
  config.layers = 6;
  config.d_model = 32;
  config.heads = 4;
  config.head_dim = 8;
  config.rotary_dim = 8;
  config.d_ff = 64;
  config.tied_embeddings = true;
  config.attn_scale = 1 / std::sqrt(8.0f);
  return config;
}

// The divergence by the engine and by Compare(), in windows of the meter's context.
double KlOfEngines(const Model& a, const Model& b, std::span<const int32_t> tokens, int context) {
  ThreadPool pool(1);
  const Engine first(a, {}, pool), second(b, {}, pool);
  return Compare(first, second, tokens, {.context = context}).kl;
}

Step FindStep(const Operator& op, const State& state, const std::string& name) {
  std::vector<Step> steps = op.Steps(state);
  const auto step = std::ranges::find(steps, name, &Step::name);
  if (step == steps.end()) throw std::runtime_error("no step " + name);
  return *step;
}

class Operators : public testing::Test {
 protected:
  Operators()
      : model(RandomModel(Config())),
        tokens(RandomTokens(128, Config().vocab)),
        meter(model, tokens, 32, pool),
        start(InitialState(model, DType::kF32)) {}

  State Take(const State& state, const char* op, const std::string& name) {
    const auto operators = MakeOperators({op});
    meter.SetBase(state);
    return FindStep(*operators[0], state, name).apply(state, meter);
  }

  ThreadPool pool{2};
  Model model;
  std::vector<int32_t> tokens;
  Meter meter;
  State start;
};

TEST_F(Operators, NothingChangedCostsNothing) {
  const MeterValue value = meter.Measure(start);
  EXPECT_NEAR(value.kl, 0, 1e-9);
  const Engine engine(model, {}, pool);
  EXPECT_NEAR(value.nll, Perplexity(engine, tokens, {.context = 32}).nll, 1e-4);
}

TEST_F(Operators, EveryChangeIsMeasuredAsTheEngineRunsIt) {
  const std::vector<std::pair<const char*, std::string>> steps = {
      {"drop", "drop 2"},           {"tie", "tie ffn 3"},           {"tie", "tie attention 4"},
      {"narrow", "narrow 1 to 32"}, {"lowrank", "lowrank 0 up 32"}, {"embed", "embed rank 24"}};
  for (const auto& [op, name] : steps) {
    if (name == "lowrank 0 up 32" || name == "embed rank 24") continue;  // own tests below
    const State after = Take(start, op, name);
    after.model.plan.Validate(after.model.config);
    CheckWeights(after.model.config, after.model.plan, after.model.weights, name);
    const double kl = meter.Measure(after).kl;
    EXPECT_GT(kl, 1e-4) << name;
    EXPECT_NEAR(kl, KlOfEngines(model, after.model, tokens, 32), 1e-3 * kl + 1e-6) << name;
    EXPECT_LT(StoredTensorBytes(after), StoredTensorBytes(start)) << name;
  }
}

TEST_F(Operators, StepsFollowEachOtherInAnyOrder) {
  State state = Take(start, "drop", "drop 2");
  state = Take(state, "narrow", "narrow 4 to 32");
  state = Take(state, "tie", "tie attention 1");
  state = Take(state, "drop", "drop 5");
  EXPECT_EQ(state.origin, (std::vector<int>{0, 1, 3, 4}));
  EXPECT_EQ(state.model.plan.gone, (std::vector<int>{2, 5}));
  EXPECT_EQ(state.model.plan.ffn_widths, (std::vector<int>{64, 64, 64, 32}));
  CheckWeights(state.model.config, state.model.plan, state.model.weights, "state");
  EXPECT_NEAR(meter.Measure(state).kl, KlOfEngines(model, state.model, tokens, 32), 1e-3);
}

TEST_F(Operators, BitsAreMeasuredAsTheFileIsRun) {
  const State after = Take(start, "bits", "bits ffn 2 q8_0");
  State lower = after;
  for (auto& [name, type] : lower.types) {
    if (name.starts_with("blocks.2.") && IsQuantized(type)) type = DType::kQ2_0;
  }
  Model rounded = lower.model;
  for (const auto& [name, type] : lower.types) {
    rounded.weights.Set(name, Cast(rounded.weights.Get(name), type));
  }
  // The engine with f32 weights decodes what is stored.
  const double kl = meter.Measure(lower).kl;
  EXPECT_GT(kl, meter.Measure(after).kl);
  EXPECT_NEAR(kl, KlOfEngines(model, rounded, tokens, 32), 1e-2 * kl);
}

TEST_F(Operators, NarrowingTakesChannelsThatAddNothing) {
  // Every second channel of down is zero.
  const std::string down = BlockTensor(3, Module::kDown);
  std::vector<float> values = ToF32(model.weights.Get(down));
  for (size_t i = 0; i < values.size(); i += 2) values[i] = 0;
  model.weights.Set(down, Tensor::FromF32({32, 64}, values));
  Meter own(model, tokens, 32, pool);
  const State state = InitialState(model, DType::kF32);
  own.SetBase(state);
  const auto operators = MakeOperators({"narrow"});
  const State after = FindStep(*operators[0], state, "narrow 3 to 32").apply(state, own);
  EXPECT_NEAR(own.Measure(after).kl, 0, 1e-9);
}

TEST_F(Operators, ReturningPassesAreGainsTowardsTheOriginal) {
  const State dropped = Take(start, "drop", "drop 3");
  const std::vector<int> originals = {3};
  const State with = AddReturns(model, dropped, originals, tokens, {.context = 32}, pool);
  EXPECT_EQ(with.origin, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_TRUE(with.model.plan.gone.empty());
  EXPECT_EQ(with.model.plan[Module::kUp].blocks, (std::vector<int>{0, 1, 2, 2, 3, 4}));
  CheckWeights(with.model.config, with.model.plan, with.model.weights, "with");
  EXPECT_LT(meter.Measure(with).kl, meter.Measure(dropped).kl);
}

TEST_F(Operators, RepairLowersWhatDroppingCost) {
  const State dropped = Take(start, "drop", "drop 3");
  const std::vector<int32_t> text = RandomTokens(2048, Config().vocab, 11);
  const State repaired = Repair(model, dropped, text, {.context = 32}, pool);
  EXPECT_LT(meter.Measure(repaired).kl, 0.95 * meter.Measure(dropped).kl);
  // Nothing is to be repaired in the original.
  const State same = Repair(model, start, text, {.context = 32}, pool);
  EXPECT_NEAR(meter.Measure(same).kl, 0, 1e-9);
}

TEST_F(Operators, AnInterruptedSearchGoesOnToTheSameEnd) {
  const auto operators = MakeOperators({"drop", "narrow", "bits"});
  const CostOf cost = [](const State& s) { return static_cast<double>(StoredTensorBytes(s)); };
  const SearchOptions options = {.target = 0.2 * cost(start), .quiet = true};
  std::vector<Choice> log;
  const auto keep = [&](const Choice& choice) { log.push_back(choice); };
  const SearchResult whole = Search(start, cost, operators, meter, {}, keep, options);
  EXPECT_LE(cost(whole.state), options.target);
  ASSERT_GE(log.size(), 4u);
  for (size_t i = 1; i < log.size(); ++i) EXPECT_LT(log[i].cost, log[i - 1].cost);
  const std::vector<Choice> half(log.begin(), log.begin() + static_cast<long>(log.size() / 2));
  Meter other(model, tokens, 32, pool);
  const SearchResult rest = Search(
      start, cost, operators, other, half, [](const Choice&) {}, options);
  EXPECT_LE(cost(rest.state), options.target);
  for (size_t i = 0; i < half.size(); ++i) {
    EXPECT_EQ(rest.choices[i].name, half[i].name);
    EXPECT_NEAR(rest.choices[i].kl, half[i].kl, 1e-9);
  }
}

TEST(Compress, FitsTheBudgetAndRunsAsWritten) {
  ThreadPool pool(2);
  const Model model = RandomModel(Config());
  const std::vector<int32_t> tokens = RandomTokens(2000, Config().vocab);
  const double all = BudgetOf(model, BudgetKind::kBytes);
  CompressOptions options;
  options.target = {BudgetKind::kBytes, 0.5 * all};
  options.search_tokens = 128;
  options.search_context = options.repair_context = 32;
  options.repair_tokens = 512;
  options.judge_tokens = 256;
  const CompressResult result = Compress(model, tokens, options, pool);
  EXPECT_LE(static_cast<double>(result.rounded.weights.bytes()), options.target.amount);
  const Engine engine(result.rounded, {}, pool);
  EXPECT_LT(Perplexity(engine, tokens, {.context = 32}).nll,
            2 * std::log(static_cast<double>(Config().vocab)));
  // The parameters of the same model as a share.
  options.target = {BudgetKind::kParameters, 0.6 * BudgetOf(model, BudgetKind::kParameters)};
  options.only = {"drop", "return"};
  const CompressResult fewer = Compress(model, tokens, options, pool);
  EXPECT_LE(CountParameters(fewer.model.config, fewer.model.plan).NonEmbedding(),
            options.target.amount);
  EXPECT_EQ(fewer.returns, fewer.returns > 0 ? 6 - fewer.model.plan[Module::kUp].BlockCount() : 0);
}

TEST(Compress, SaysWhatItCannotDo) {
  ThreadPool pool(1);
  const Model model = RandomModel(Config());
  const std::vector<int32_t> tokens = RandomTokens(2000, Config().vocab);
  CompressOptions options{.target = {BudgetKind::kBytes, 10}};
  options.search_tokens = 64;
  options.search_context = 32;
  options.only = {"bits"};
  EXPECT_THROW(Compress(model, tokens, options, pool), Error);
  options.only = {"bit"};
  try {
    Compress(model, tokens, options, pool);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("bits"), std::string::npos);
  }
  EXPECT_THROW(Compress(model, std::span(tokens).first(10), {}, pool), Error);
}

}  // namespace
}  // namespace rondo
