// Plans of format 2 in the engine against plain models of the same function.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "engine/engine_testing.h"
#include "rondo/error.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

ModelConfig TiedConfig() {
  ModelConfig config = SmallConfig();
  config.tied_embeddings = true;
  config.o_bias = config.ffn_bias = true;
  return config;
}

// Everything at once: shared blocks, residuals, gains, low rank, narrow feed-forwards, a factorised
// embedding.
SharingPlan FullPlan(const ModelConfig& config) {
  SharingPlan plan = CyclePlan(config, 2, ResidualKind::kNone, 0);
  plan.order = "custom";
  plan.gone = {1, 4};
  plan.embedding_rank = 9;
  plan.ffn_widths = {40, 16, 40, 16};
  plan[Module::kQ].residual = ResidualKind::kLora;
  plan[Module::kQ].ranks = {0, 2, 3, 1};
  plan[Module::kUp].residual = ResidualKind::kLora;  // behind a block of low rank
  plan[Module::kUp].ranks = {2, 2, 0, 1};
  plan[Module::kUp].factors = {7, 0};
  plan[Module::kO].factors = {5, 3};
  plan[Module::kO].gains = {GainKind::kNone, GainKind::kScalar, GainKind::kVector,
                            GainKind::kVector};
  plan[Module::kDown].gains.assign(4, GainKind::kVector);
  plan[Module::kK].gains.assign(4, GainKind::kScalar);
  return plan;
}

void ExpectSameFunction(const Model& a, const Model& b) {
  const std::vector<int32_t> tokens = RandomTokens(40, a.config.vocab);
  const std::vector<float> logits = AllLogits(b, tokens);
  const std::vector<double> expected(logits.begin(), logits.end());
  EXPECT_GT(LargestMagnitude(expected), 0.1);
  EXPECT_LE(WorstDifference(AllLogits(a, tokens), expected), 2 * Tolerance(a.config, expected));
}

TEST(PlansOfFormat2, UnrolledTheyAreThePlainModelOfTheSameFunction) {
  for (const ModelConfig& config : {SmallConfig(), TiedConfig()}) {
    SharingPlan plan = FullPlan(config);
    if (config.HasBias(Module::kO)) plan[Module::kO].own_bias = true;
    const Model model = RandomModel(config, plan);
    ThreadPool pool(2);
    const Model plain = Unroll(model, pool);
    EXPECT_TRUE(plain.plan.IsPlain());
    EXPECT_EQ(plain.plan.gone, plan.gone);
    ExpectSameFunction(model, plain);
  }
}

TEST(PlansOfFormat2, AGainOfNothingIsAPassThatDoesNothing) {
  const ModelConfig config = TiedConfig();
  SharingPlan plan = IdentityPlan(config);
  for (const Module m : {Module::kO, Module::kDown}) {
    plan[m].gains.assign(4, GainKind::kNone);
    plan[m].gains[2] = GainKind::kScalar;
  }
  Model model = RandomModel(config, plan);
  for (const Module m : {Module::kO, Module::kDown}) {
    model.weights.Set(ResidualTensor(2, m, "gain"), Tensor::FromF32({1}, std::vector<float>{0.0f}));
  }
  // The same three layers without it.
  ModelConfig shorter = config;
  shorter.layers = 3;
  Model rest{.config = shorter, .plan = IdentityPlan(shorter), .weights = {}, .path = {}};
  for (const TensorSpec& spec : ExpectedTensors(shorter, rest.plan)) {
    std::string from = spec.name;
    if (from.starts_with("blocks.2.")) from[7] = '3';
    rest.weights.Set(spec.name, model.weights.Get(from));
  }
  ExpectSameFunction(model, rest);
}

TEST(PlansOfFormat2, ALinearPatchIsAddedToWhatEntersItsDepth) {
  const ModelConfig config = SmallConfig();  // the head is no embedding
  SharingPlan plan = IdentityPlan(config);
  plan.patches = {0};
  Model model = RandomModel(config, plan);
  const auto d = static_cast<size_t>(config.d_model);
  std::vector<float> half(d * d);
  for (size_t i = 0; i < d; ++i) half[i * d + i] = 0.5f;
  model.weights.Set(PatchTensor(0), Tensor::FromF32({config.d_model, config.d_model}, half));
  Model scaled = model;
  scaled.plan.patches.clear();
  scaled.weights.Erase(PatchTensor(0));
  scaled.config.embed_scale = 1.5f;
  ExpectSameFunction(model, scaled);
  ThreadPool pool(1);
  try {
    Unroll(model, pool);
    FAIL() << "a plain model cannot hold a patch";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("patch before depth 0"), std::string::npos);
  }
}

}  // namespace
}  // namespace rondo
