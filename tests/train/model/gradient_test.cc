// Gradients against finite differences of the loss, and against themselves under checkpointing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rondo/ffn_width.h"
#include "train/finite_differences.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

constexpr int kLength = 8;

struct Case {
  Model model;
  Model teacher;
  LossOptions loss;
  int border = 0;
  int64_t ffn_width = 0;  // 0: the whole
};

Case MakeCase(const ModelConfig& config, const SharingPlan& plan) {
  Case setup{RandomModel(config, plan, 1), RandomModel(config, 2), {}, 0, 0};
  setup.loss.vocab.ce = 0.4f;
  setup.loss.vocab.kd = 0.6f;
  return setup;
}

double Loss(const Case& s, Params& params, const Teacher& teacher) {
  Student student = MakeStudent(params, s.model);
  if (s.ffn_width > 0) student.set_ffn_width(s.ffn_width);
  const TokenBatch batch = RandomBatch(2, kLength, s.model.config.vocab, s.border);
  const StepValue value = student.AddGradients(batch, &teacher, s.loss, 1);
  return value.loss;
}

void ExpectFiniteDifferencesAgree(const Case& s) {
  at::set_num_threads(1);  // these sizes are not worth waking a second one
  Params params = AllTrained(s.model);
  const Teacher teacher(s.teacher, kLength);
  const int compared = ExpectDerivatives(params, [&] { return Loss(s, params, teacher); });
  EXPECT_GT(compared, static_cast<int>(params.List().size()) / 2) << "nothing rises above noise";
}

class GradientOfFamily : public testing::TestWithParam<FamilyCase> {};

TEST_P(GradientOfFamily, GradientsAreDerivatives) {
  const ModelConfig& config = GetParam().config;
  ExpectFiniteDifferencesAgree(MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3)));
}

INSTANTIATE_TEST_SUITE_P(Families, GradientOfFamily, testing::ValuesIn(Families()),
                         [](const auto& test) { return test.param.name; });

TEST(Gradient, InBf16IsNearThatInF32) {
  for (const FamilyCase& family : Families()) {
    SCOPED_TRACE(family.name);
    const Case s = MakeCase(family.config, CyclePlan(family.config, 2, ResidualKind::kLora, 3));
    const auto gradient = [&](Params& params, ComputeType compute) {
      Student student = MakeStudent(params, s.model, Recompute::kNone, 32, compute);
      const Teacher teacher(s.teacher, kLength, compute);
      student.AddGradients(RandomBatch(2, kLength, s.model.config.vocab), &teacher, s.loss, 1);
      return params.grad();
    };
    ExpectBf16Near(s.model, gradient);
  }
}

TEST(Gradient, OfEveryResidualKind) {
  const ModelConfig config = SmallConfig();
  for (const ResidualKind kind : {ResidualKind::kLoraDiag, ResidualKind::kDora,
                                  ResidualKind::kMulDiag, ResidualKind::kKronecker}) {
    SCOPED_TRACE(std::string(Name(kind)));
    ExpectFiniteDifferencesAgree(MakeCase(config, CyclePlan(config, 2, kind, 3)));
  }
}

TEST_P(GradientOfFamily, GradientsOfAPlanThatChangesEverythingAreDerivatives) {
  const ModelConfig& config = GetParam().config;
  ExpectFiniteDifferencesAgree(MakeCase(config, ChangedPlan(config)));
}

TEST_P(GradientOfFamily, GradientsOfPrefixVectorsAreDerivatives) {
  const ModelConfig& config = GetParam().config;
  ExpectFiniteDifferencesAgree(
      MakeCase(config, WithPrefix(CyclePlan(config, 2, ResidualKind::kNone, 0), 3)));
}

TEST(Gradient, OfWidthsThatNoVectorDivides) {
  ModelConfig config = SmallConfig();
  config.d_model = 23;
  config.d_ff = 37;
  config.head_dim = config.rotary_dim = 10;
  config.attn_scale = 0.3f;
  ExpectFiniteDifferencesAgree(MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 5)));
}

TEST(Gradient, OfEveryDivergenceAndTemperature) {
  const ModelConfig config = SmallConfig();
  for (const KdKind kind : {KdKind::kForwardKl, KdKind::kReverseKl, KdKind::kJensenShannon}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Case setup = MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
    setup.loss.vocab.kind = kind;
    setup.loss.vocab.temperature = 1.7f;
    setup.loss.vocab.js_lambda = 0.3f;
    ExpectFiniteDifferencesAgree(setup);
  }
}

TEST(Gradient, OfHiddenStatesAndWeightedExits) {
  const ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
  setup.loss.hidden = 0.7;
  setup.loss.hidden_depths = {0, 2};
  setup.loss.exits = ExitLoss::kWeighted;
  ExpectFiniteDifferencesAgree(setup);
}

// A first and a last layer around one that runs twice, without residuals.
SharingPlan MiddlePlan(const ModelConfig& config) {
  SharingPlan plan = IdentityPlan(config);
  for (const Module m : kAllModules) {
    if (!plan[m].blocks.empty()) plan[m].blocks = {0, 1, 1, 2};
  }
  return plan;
}

// What stands behind the loops runs for a token that leaves them, in the engine and here: the exit
// is the model without the second pass.
TEST(Gradient, OfExitsBeforeALastLayer) {
  ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, MiddlePlan(config));
  setup.loss.exits = ExitLoss::kWeighted;
  ExpectFiniteDifferencesAgree(setup);

  const TokenBatch batch = RandomBatch(2, kLength, config.vocab);
  const LossOptions ce = {.vocab = {.ce = 1}, .exits = ExitLoss::kWeighted};
  Params params = AllTrained(setup.model);
  const StepValue value = MakeStudent(params, setup.model).AddGradients(batch, nullptr, ce, 1);
  Model without = setup.model;
  without.config.layers = without.plan.depths = 3;
  for (const Module m : kAllModules) {
    if (!without.plan[m].blocks.empty()) without.plan[m].blocks = {0, 1, 2};
  }
  Params others = AllTrained(without);
  const StepValue expected =
      MakeStudent(others, without).AddGradients(batch, nullptr, {.vocab = {.ce = 1}}, 1);
  ASSERT_EQ(value.exit_ce.size(), 1u);
  EXPECT_NEAR(value.exit_ce[0], expected.ce, 1e-5);
  EXPECT_GT(std::abs(value.exit_ce[0] - value.ce), 1e-3);
}

// Bae et al. 2025, section 2.3: α_i = i / Σ i, or c for every loop but the last.
TEST(ExitLoss, WeightsAreThePublishedOnes) {
  using testing::ElementsAre;
  EXPECT_THAT(ExitWeights({}, 3), ElementsAre(0, 0, 1));
  EXPECT_THAT(ExitWeights({.exits = ExitLoss::kWeighted}, 1), ElementsAre(1));
  EXPECT_THAT(ExitWeights({.exits = ExitLoss::kWeighted}, 2), ElementsAre(1.0 / 3, 2.0 / 3));
  EXPECT_THAT(ExitWeights({.exits = ExitLoss::kWeighted}, 4), ElementsAre(0.1, 0.2, 0.3, 0.4));
  EXPECT_THAT(ExitWeights({.exits = ExitLoss::kAggressive}, 3), ElementsAre(0.1, 0.1, 1));
  EXPECT_THAT(ExitWeights({.exits = ExitLoss::kAggressive, .exit_weight = 0.25}, 2),
              ElementsAre(0.25, 1));
}

// The loss of three loops, worked out by hand from the cross-entropies at their ends, which are
// those of the model cut there; and the gradient is the weighted sum of theirs.
TEST(ExitLoss, IsTheWeightedSumOfTheLoopsLosses) {
  ModelConfig config = SmallConfig();
  config.layers = 3;
  config.local_layers.clear();
  const Model model = RandomModel(config, CyclePlan(config, 1, ResidualKind::kNone, 0), 1);
  const TokenBatch batch = RandomBatch(2, kLength, config.vocab);
  const auto run = [&](const Model& m, ExitLoss exits) {
    Params params = AllTrained(m);
    const StepValue value = MakeStudent(params, m).AddGradients(
        batch, nullptr, {.vocab = {.ce = 1, .kd = 0}, .exits = exits}, 1);
    return std::pair(value, params.Get("blocks.0.down.weight").grad().clone());
  };
  const auto cut = [&](int loops) {
    Model short_model = model;
    short_model.config.layers = short_model.plan.depths = loops;
    for (const Module m : kAllModules) {
      if (!short_model.plan[m].blocks.empty()) {
        short_model.plan[m].blocks.assign(static_cast<size_t>(loops), 0);
      }
    }
    return run(short_model, ExitLoss::kNone);
  };
  const auto [first, d_first] = cut(1);
  const auto [second, d_second] = cut(2);
  const auto [third, d_third] = run(model, ExitLoss::kNone);
  ASSERT_GT(std::abs(first.loss - third.loss), 1e-3);

  const auto [weighted, d_weighted] = run(model, ExitLoss::kWeighted);
  ASSERT_EQ(weighted.exit_ce.size(), 2u);
  EXPECT_NEAR(weighted.exit_ce[0], first.ce, 1e-5);
  EXPECT_NEAR(weighted.exit_ce[1], second.ce, 1e-5);
  EXPECT_NEAR(weighted.loss, (1 * first.ce + 2 * second.ce + 3 * third.ce) / 6, 1e-5);
  const at::Tensor by_hand = (d_first + 2 * d_second + 3 * d_third) / 6;
  EXPECT_LT((d_weighted - by_hand).norm().item<float>(), 1e-5f * by_hand.norm().item<float>());

  const auto [aggressive, d_aggressive] = run(model, ExitLoss::kAggressive);
  EXPECT_NEAR(aggressive.loss, 0.1 * first.ce + 0.1 * second.ce + third.ce, 1e-5);
  const at::Tensor sum = 0.1 * d_first + 0.1 * d_second + d_third;
  EXPECT_LT((d_aggressive - sum).norm().item<float>(), 1e-5f * sum.norm().item<float>());
}

TEST(Gradient, OfDocumentsKeptApart) {
  const ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
  setup.loss.documents_apart = true;
  setup.border = 3;
  ExpectFiniteDifferencesAgree(setup);
  setup.model = RandomModel(config, WithPrefix(setup.model.plan, 2), 1);
  ExpectFiniteDifferencesAgree(setup);
}

TEST(Gradient, OfAPartOfTheFeedForward) {
  const ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
  setup.ffn_width = 11;
  ExpectFiniteDifferencesAgree(setup);
}

class GradientOfAPart : public testing::TestWithParam<FamilyCase> {};

// What a part of the feed-forward learns is what the cut model learns; the rest learns nothing.
TEST_P(GradientOfAPart, IsThatOfTheCutModelAndZeroElsewhere) {
  const ModelConfig& config = GetParam().config;
  Case whole = MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
  whole.ffn_width = 11;
  Case cut = whole;
  cut.model = CutFfn(whole.model, 11.0 / config.d_ff);
  cut.ffn_width = 0;
  ASSERT_EQ(cut.model.config.d_ff, 11);
  Params whole_params = AllTrained(whole.model), cut_params = AllTrained(cut.model);
  const Teacher teacher(whole.teacher, kLength);
  Loss(whole, whole_params, teacher);
  Loss(cut, cut_params, teacher);
  int divided = 0;
  for (const Param* param : cut_params.List()) {
    at::Tensor rest = whole_params.Get(param->name).grad().clone();
    at::Tensor part = rest;
    for (int64_t dim = 0; dim < rest.dim(); ++dim) {
      part = part.narrow(dim, 0, param->value.size(dim));
    }
    const at::Tensor expected = param->value.grad();
    // Without rotary embedding a key's bias moves all scores of a query alike, which the softmax
    // does not see: of its gradient only rounding is left.
    if (config.rotary_dim == 0 && param->name.ends_with(".k.bias")) continue;
    const double largest = expected.abs().max().item<double>();
    EXPECT_GT(largest, 0) << param->name;
    // About ten sums a layer, forward and backward, of 40 terms in perhaps another order.
    const double limit = 4 * 0x1p-23 * std::sqrt(40.0) * std::sqrt(20.0 * config.layers) * largest;
    EXPECT_LE((part - expected).abs().max().item<double>(), limit) << param->name;
    part.zero_();
    EXPECT_EQ(rest.abs().max().item<double>(), 0) << param->name;
    divided += rest.numel() > expected.numel();
  }
  // Of two blocks and four depths: weights and a factor of gate, up and down.
  EXPECT_GE(divided, config.gated_ffn ? 3 * (2 + 4) : 2 * (2 + 4));
}

INSTANTIATE_TEST_SUITE_P(Families, GradientOfAPart, testing::ValuesIn(Families()),
                         [](const auto& test) { return test.param.name; });

at::Tensor GradientWith(const Case& s, Recompute recompute) {
  Params params = AllTrained(s.model);
  Student student = MakeStudent(params, s.model, recompute);
  const Teacher teacher(s.teacher, kLength);
  student.AddGradients(RandomBatch(2, kLength, s.model.config.vocab), &teacher, s.loss, 1);
  return params.grad().clone();
}

// A depth computed again must repeat every bit. Where segments end, gradients of shared tensors are
// summed in another order, which a plan that shares nothing leaves alone.
TEST(Gradient, CheckpointingRepeatsEveryBit) {
  const ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, IdentityPlan(config));
  const at::Tensor all = GradientWith(setup, Recompute::kNone);
  EXPECT_GT(all.norm().item<double>(), 0.1);
  EXPECT_TRUE(at::equal(all, GradientWith(setup, Recompute::kLoop)));
  EXPECT_TRUE(at::equal(all, GradientWith(setup, Recompute::kDepth)));
}

TEST(Gradient, CheckpointingOfLoopsChangesRoundingOnly) {
  const ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
  const at::Tensor all = GradientWith(setup, Recompute::kNone);
  const double largest = all.abs().max().item<double>();
  for (const Recompute recompute : {Recompute::kLoop, Recompute::kDepth}) {
    const at::Tensor difference = GradientWith(setup, recompute) - all;
    // Two terms summed in another order differ by one rounding of the larger.
    EXPECT_LE(difference.abs().max().item<double>(), 4 * 0x1p-24 * largest);
  }
}

// The exits' target is the last output as it is: no gradient flows back through it.
TEST(Gradient, ExitsDoNotMoveTheOutputTheyLearnFrom) {
  const ModelConfig config = SmallConfig();
  Case setup = MakeCase(config, CyclePlan(config, 2, ResidualKind::kNone, 0));
  setup.loss.vocab.ce = setup.loss.vocab.kd = 0;
  setup.loss.exits = ExitLoss::kAggressive;
  setup.loss.exit_weight = 1;
  setup.loss.exit_kd = 1;
  SharingPlan plan = setup.model.plan;
  for (const Module m : kAllModules) {  // norms of their own tell the loops apart
    if (!IsLinear(m) && config.HasModule(m)) plan[m].blocks = {0, 1, 2, 3};
  }
  setup.model = RandomModel(config, plan, 1);
  Params params = AllTrained(setup.model);
  Student student = MakeStudent(params, setup.model);
  student.AddGradients(RandomBatch(2, kLength, config.vocab), nullptr, setup.loss, 1);
  EXPECT_GT(params.Get("blocks.1.ffn_norm.weight").grad().norm().item<double>(), 0);
  EXPECT_EQ(params.Get("blocks.2.ffn_norm.weight").grad().norm().item<double>(), 0);
  EXPECT_EQ(params.Get("blocks.3.ffn_norm.weight").grad().norm().item<double>(), 0);
}

}  // namespace
}  // namespace rondo
