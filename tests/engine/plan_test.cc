// Sharing plans: every residual kind against merged matrices, ties against duplicates.
#include <gtest/gtest.h>

#include <string>

#include "engine/engine_testing.h"
#include "rondo/engine.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// The plain model of the same function with f32 matrices merged in double precision.
Model Unrolled(const Model& model) {
  Model plain{
      .config = model.config, .plan = IdentityPlan(model.config), .weights = {}, .path = {}};
  for (const TensorSpec& spec : ExpectedTensors(plain.config, plain.plan)) {
    if (model.weights.Has(spec.name)) plain.weights.Set(spec.name, model.weights.Get(spec.name));
  }
  for (const Module m : kAllModules) {
    if (!model.config.HasModule(m)) continue;
    const Shape shape = model.config.ModuleShape(m);
    const ModulePlan& plan = model.plan[m];
    for (int depth = 0; depth < model.config.layers; ++depth) {
      const int block = plan.blocks[depth];
      const auto filled = [&](float value) {
        return Tensor::FromF32(shape, std::vector<float>(static_cast<size_t>(shape[0]), value));
      };
      Tensor weight;
      if (IsLinear(m)) {
        const std::vector<double> merged = MergedMatrix(model, m, depth);
        weight = Tensor::FromF32(shape, std::vector<float>(merged.begin(), merged.end()));
      } else {
        weight = block == kAbsorbed ? filled(1) : model.weights.Get(BlockTensor(block, m));
      }
      plain.weights.Set(BlockTensor(depth, m), weight);
      if (!model.config.HasBias(m)) continue;
      const std::string bias =
          plan.own_bias ? ResidualTensor(depth, m, "bias") : BlockTensor(block, m, "bias");
      plain.weights.Set(BlockTensor(depth, m, "bias"),
                        block == kAbsorbed ? filled(0) : model.weights.Get(bias));
    }
  }
  return plain;
}

ModelConfig BiasedConfig() {
  ModelConfig config = SmallConfig();
  config.norm = NormKind::kLayer;
  config.qkv_bias = config.o_bias = config.ffn_bias = true;
  return config;
}

struct Case {
  ResidualKind kind;
  int rank;
};

class ResidualKinds : public testing::TestWithParam<Case> {};

TEST_P(ResidualKinds, EqualsTheMergedMatrices) {
  const ModelConfig config = BiasedConfig();
  SharingPlan plan = CyclePlan(config, 2, GetParam().kind, GetParam().rank);
  if (GetParam().rank > 1)
    plan[Module::kQ].ranks = {1, 0, 3, 2};  // ranks differ, one depth has none
  const Model model = RandomModel(config, plan);
  ExpectMatchesReference(model);

  const std::vector<int32_t> tokens = RandomTokens(40, config.vocab);
  const std::vector<float> merged = AllLogits(Unrolled(model), tokens);
  const std::vector<double> expected(merged.begin(), merged.end());
  // Both sides round, independently.
  EXPECT_LE(WorstDifference(AllLogits(model, tokens), expected),
            std::sqrt(2) * Tolerance(config, expected));
}

INSTANTIATE_TEST_SUITE_P(
    All, ResidualKinds,
    testing::Values(Case{ResidualKind::kLora, 1}, Case{ResidualKind::kLora, 7},
                    Case{ResidualKind::kLora, 12}, Case{ResidualKind::kLoraDiag, 5},
                    Case{ResidualKind::kLoraDiag, 0}, Case{ResidualKind::kDora, 5},
                    Case{ResidualKind::kDora, 0}, Case{ResidualKind::kMulDiag, 0},
                    Case{ResidualKind::kKronecker, 1}, Case{ResidualKind::kKronecker, 3}),
    [](const auto& test) {
      std::string name(Name(test.param.kind));
      std::erase(name, '-');
      return name + std::to_string(test.param.rank);
    });

TEST(Plans, TiedModelEqualsItsDuplicateBitForBit) {
  const ModelConfig config = BiasedConfig();
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kNone, 0);
  plan[Module::kUp].blocks = {0, 0, 0, 1};  // modules may be tied differently
  plan[Module::kAttnNorm].blocks = {0, 1, 2, 3};
  const Model tied = RandomModel(config, plan);
  const std::vector<int32_t> tokens = RandomTokens(40, config.vocab);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    EXPECT_EQ(AllLogits(tied, tokens, type), AllLogits(Unrolled(tied), tokens, type));
  }
}

TEST(Plans, OwnBiasesOfTiedLinearsAndNorms) {
  const ModelConfig config = BiasedConfig();
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kLora, 3);
  for (const Module m : {Module::kQ, Module::kDown, Module::kFfnNorm}) plan[m].own_bias = true;
  ExpectMatchesReference(RandomModel(config, plan));
}

TEST(Plans, AbsorbedNormsHaveUnitGainAndNoBias) {
  const ModelConfig config = BiasedConfig();
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kNone, 0);
  plan[Module::kAttnNorm].blocks.assign(4, kAbsorbed);
  plan[Module::kFfnNorm].blocks.assign(4, kAbsorbed);
  const Model model = RandomModel(config, plan);
  ExpectMatchesReference(model);
  const std::vector<int32_t> tokens = RandomTokens(40, config.vocab);
  EXPECT_EQ(AllLogits(model, tokens), AllLogits(Unrolled(model), tokens));
}

// Trained keys and values beside any residual, window, cap and head norms.
TEST(Plans, PrefixVectorsEqualTheReference) {
  ModelConfig windows = SmallConfig();
  windows.qk_norm = windows.post_norms = true;
  windows.sliding_window = 5;
  windows.local_layers = {1, 0, 1, 0};
  windows.attn_softcap = 2;
  for (const ModelConfig& config : {BiasedConfig(), windows}) {
    for (const int count : {1, 20, 70}) {
      const SharingPlan plan = WithPrefix(CyclePlan(config, 2, ResidualKind::kLora, 3), count);
      ExpectMatchesReference(RandomModel(config, plan));
      ExpectMatchesReference(RandomModel(config, WithPrefix(IdentityPlan(config), count)));
    }
  }
}

// Even zeros take their share of the attention: exp(0) counts.
TEST(Plans, PrefixVectorsOfZeroMatter) {
  const ModelConfig config = SmallConfig();
  Model model = RandomModel(config, WithPrefix(IdentityPlan(config), 3));
  Model without = model;
  without.plan.prefix = 0;
  for (int depth = 0; depth < config.layers; ++depth) {
    for (const char* part : {"k", "v"}) {
      const std::string name = PrefixTensor(depth, part);
      model.weights.Set(name, Tensor::FromF32({3, 12}, std::vector<float>(36)));
      without.weights.Erase(name);
    }
  }
  const std::vector<int32_t> tokens = RandomTokens(40, config.vocab);
  const std::vector<float> plain = AllLogits(without, tokens);
  const std::vector<double> expected(plain.begin(), plain.end());
  EXPECT_GT(WorstDifference(AllLogits(model, tokens), expected), 0.1);
}

TEST(Plans, SharedBlocksAreHeldOnce) {
  ModelConfig config = SmallConfig();
  config.d_model = 64;
  config.d_ff = 128;
  config.vocab = 16;
  ThreadPool pool(1);
  const Engine plain(RandomModel(config), {}, pool);
  const Engine tied(RandomModel(config, CyclePlan(config, 1, ResidualKind::kNone, 0)), {}, pool);
  const Engine half(RandomModel(config), {.weights = DType::kBF16}, pool);
  const uint64_t outside = 2 * 16 * 64 * 4 + 64 * 4;  // embedding, head, final norm
  EXPECT_EQ(plain.weight_bytes() - outside, 4 * (tied.weight_bytes() - outside));
  EXPECT_LT(half.weight_bytes(), plain.weight_bytes() * 6 / 10);
}

}  // namespace
}  // namespace rondo
