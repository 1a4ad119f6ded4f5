// The differentiable forward pass against the engine, for every family, plan and residual kind.
#include "train/model/forward.h"

#include <gtest/gtest.h>

#include "rondo/ffn_width.h"
#include "train/model/teacher.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

std::vector<float> LogitsOf(const Teacher& teacher, std::span<const int32_t> tokens,
                            const RowsShape& shape) {
  const at::NoGradGuard no_grad;
  const LogitHead& head = teacher.head();
  at::Tensor logits = at::linear(teacher.Run(tokens, shape).normed, head.weight, head.bias);
  if (head.softcap > 0) logits = at::tanh(logits / head.softcap) * head.softcap;
  const float* data = logits.const_data_ptr<float>();
  return {data, data + logits.numel()};
}

std::vector<float> TrainLogits(const Model& model, std::span<const int32_t> tokens,
                               const RowsShape& shape) {
  return LogitsOf(Teacher(model, shape.length), tokens, shape);
}

// A part of the feed-forward in training is the engine's whole feed-forward of the cut model.
void ExpectPartEqualsCutModel(const Model& model, double share, int length = 24) {
  const std::vector<int32_t> tokens = RandomTokens(length, model.config.vocab);
  const Model cut = CutFfn(model, share);
  const std::vector<float> engine = AllLogits(cut, tokens);
  const std::vector<double> expected(engine.begin(), engine.end());
  const Teacher part(Params::Frozen(model), model.config, model.plan, length, ComputeType::kF32,
                     nullptr, FfnWidth(model.config, share));
  const std::vector<float> logits = LogitsOf(part, tokens, ShapeOfRows(1, length));
  ASSERT_EQ(logits.size(), expected.size());
  const double limit = 2 * Tolerance(model.config, expected);
  EXPECT_LE(WorstDifference(logits, expected), limit);
  EXPECT_GT(WorstDifference(AllLogits(model, tokens), expected), 100 * limit);
}

void ExpectEqualsEngine(const Model& model, int length = 24) {
  const std::vector<int32_t> tokens = RandomTokens(length, model.config.vocab);
  const std::vector<float> engine = AllLogits(model, tokens);
  const std::vector<double> expected(engine.begin(), engine.end());
  const std::vector<float> logits = TrainLogits(model, tokens, ShapeOfRows(1, length));
  ASSERT_EQ(logits.size(), expected.size());
  // Both round; see Tolerance().
  EXPECT_LE(WorstDifference(logits, expected), 2 * Tolerance(model.config, expected));
}

class EveryFamily : public testing::TestWithParam<FamilyCase> {};

TEST_P(EveryFamily, EqualsTheEngine) { ExpectEqualsEngine(RandomModel(GetParam().config)); }

TEST_P(EveryFamily, FoldedEqualsTheEngine) {
  const ModelConfig& config = GetParam().config;
  ExpectEqualsEngine(RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 3)));
}

TEST_P(EveryFamily, WithPrefixVectorsEqualsTheEngine) {
  const ModelConfig& config = GetParam().config;
  ExpectEqualsEngine(
      RandomModel(config, WithPrefix(CyclePlan(config, 2, ResidualKind::kLora, 3), 5)));
}

// Gains, blocks of low rank, narrowed feed-forwards and linear patches (plans of format 2).
TEST_P(EveryFamily, ChangedInEveryWayEqualsTheEngine) {
  const ModelConfig& config = GetParam().config;
  ExpectEqualsEngine(RandomModel(config, ChangedPlan(config)));
}

TEST_P(EveryFamily, PartOfTheFeedForwardEqualsTheCutModel) {
  const ModelConfig& config = GetParam().config;
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kLora, 3);
  plan[Module::kUp].own_bias = config.HasBias(Module::kUp);
  for (const double share : {0.125, 0.6})
    ExpectPartEqualsCutModel(RandomModel(config, plan), share);
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily, testing::ValuesIn(Families()),
                         [](const auto& test) { return test.param.name; });

class EveryResidual : public testing::TestWithParam<ResidualKind> {};

TEST_P(EveryResidual, EqualsTheEngine) {
  const ModelConfig config = SmallConfig();
  ExpectEqualsEngine(RandomModel(config, CyclePlan(config, 2, GetParam(), 3)));
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryResidual,
                         testing::Values(ResidualKind::kNone, ResidualKind::kLora,
                                         ResidualKind::kLoraDiag, ResidualKind::kDora,
                                         ResidualKind::kMulDiag, ResidualKind::kKronecker),
                         [](const auto& test) {
                           std::string name(Name(test.param));
                           std::erase(name, '-');
                           return name;
                         });

TEST(Forward, PartOfTheFeedForwardWithAnyResidualThatCanBeCut) {
  const ModelConfig config = SmallConfig();
  for (const ResidualKind kind : {ResidualKind::kNone, ResidualKind::kLoraDiag,
                                  ResidualKind::kMulDiag, ResidualKind::kDora}) {
    SharingPlan plan = CyclePlan(config, 2, kind, 3);
    if (kind == ResidualKind::kDora) {
      plan[Module::kDown].residual = ResidualKind::kNone;
      plan[Module::kDown].ranks.clear();
    }
    ExpectPartEqualsCutModel(RandomModel(config, plan), 0.5);
  }
}

TEST(Forward, OwnAndAbsorbedNormsEqualTheEngine) {
  ModelConfig config = SmallConfig();
  config.norm = NormKind::kLayer;
  config.qkv_bias = config.o_bias = config.ffn_bias = true;
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kLora, 2);
  for (const Module m : {Module::kQ, Module::kO, Module::kUp}) plan[m].own_bias = true;
  plan[Module::kAttnNorm].blocks = {kAbsorbed, kAbsorbed, kAbsorbed, kAbsorbed};
  plan[Module::kFfnNorm].blocks = {0, 1, 2, 3};
  ExpectEqualsEngine(RandomModel(config, plan));
}

// Widths that no vector divides.
TEST(Forward, OddWidthsEqualTheEngine) {
  ModelConfig config = SmallConfig();
  config.d_model = 23;
  config.d_ff = 37;
  config.head_dim = config.rotary_dim = 10;
  config.attn_scale = 0.3f;
  ExpectEqualsEngine(RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 5)));
}

// Rows of a batch are sequences of their own, and so are documents of a row when kept apart: a
// document's logits are those it has alone. Rotary embedding is relative, so its place in the row
// does not matter.
void ExpectRowsAndDocumentsIndependent(const Model& model) {
  const ModelConfig& config = model.config;
  const std::vector<int32_t> tokens = RandomTokens(30, config.vocab);
  const std::vector<int32_t> document = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const std::vector<float> batch = TrainLogits(model, tokens, ShapeOfRows(2, 15, document));
  const std::span<const int32_t> ids = tokens;
  size_t at = 0;
  for (const auto& [begin, count] : {std::pair{0, 15}, {15, 6}, {21, 9}}) {
    const std::vector<float> alone = AllLogits(model, ids.subspan(begin, count));
    const std::vector<double> expected(alone.begin(), alone.end());
    const std::vector<float> part(batch.begin() + at, batch.begin() + at + alone.size());
    EXPECT_LE(WorstDifference(part, expected), 2 * Tolerance(config, expected)) << begin;
    at += alone.size();
  }
}

TEST(Forward, RowsAndDocumentsAreIndependent) {
  ExpectRowsAndDocumentsIndependent(RandomModel(SmallConfig()));
}

// Every document sees the prefix. Prefix keys are not turned, so with rotary embedding a document's
// place in the row would matter; here positions say nothing.
TEST(Forward, RowsAndDocumentsWithPrefixVectorsAreIndependent) {
  ModelConfig config = SmallConfig();
  config.positions = PositionKind::kLearned;
  config.rotary_dim = 0;
  Model model = RandomModel(config, WithPrefix(IdentityPlan(config), 4));
  const Shape shape = model.weights.Get("positions.weight").shape();
  const auto size = static_cast<size_t>(ElementCount(shape));
  model.weights.Set("positions.weight", Tensor::FromF32(shape, std::vector<float>(size)));
  ExpectRowsAndDocumentsIndependent(model);
}

}  // namespace
}  // namespace rondo
