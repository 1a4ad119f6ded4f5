// Every unique tensor exists once: in parameters, gradient norm, update and checkpoint.
#include "train/model/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rondo/error.h"
#include "train/model/balance.h"
#include "train/run/optimizer.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

Model FoldedModel() {
  ModelConfig config = SmallConfig();
  config.tied_embeddings = true;
  return RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
}

int64_t Total(const Model& model) { return CountParameters(model.config, model.plan).Total(); }

TEST(Params, HoldEveryTensorOnce) {
  const Model model = FoldedModel();
  const Params params = AllTrained(model);
  EXPECT_EQ(params.trained_elements(), Total(model));
  EXPECT_EQ(params.List().size(), model.weights.size());
  // No two parts of the flat array overlap.
  at::Tensor owners = at::zeros_like(params.flat());
  for (const Param* param : params.List()) Params::Part(owners, *param).add_(1);
  EXPECT_EQ(owners.max().item<float>(), 1);
  EXPECT_EQ(owners.sum().item<double>(), static_cast<double>(Total(model)));
}

// A shared tensor's gradient is the sum over its depths, and the norm counts that sum once.
TEST(Params, GradientNormCountsSharedTensorsOnce) {
  const Model model = FoldedModel();
  Params params = AllTrained(model);
  Optimizer optimizer(params, {});
  Student student = MakeStudent(params, model);
  student.AddGradients(RandomBatch(2, 8, model.config.vocab), nullptr, {.vocab = {.ce = 1}}, 1);
  double squares = 0;
  for (const auto& [name, tensor] : model.weights) {
    squares += std::pow(params.Get(name).grad().to(at::kDouble).norm().item<double>(), 2);
  }
  const double norm = optimizer.GradNorm();
  EXPECT_NEAR(norm, std::sqrt(squares), 1e-5 * norm);
  EXPECT_GT(norm, 0);
}

// One step of AdamW from zero moments moves every value by lr against the sign of its gradient,
// whatever the gradient's size: a tensor stepped twice would move by 2 lr.
TEST(Params, OneStepMovesEveryTensorOnce) {
  const Model model = FoldedModel();
  Params params = AllTrained(model);
  Optimizer optimizer(params, {.eps = 1e-30, .weight_decay = 0, .clip = 0});
  const at::Tensor before = params.flat().clone();
  params.grad().fill_(0.25);
  optimizer.Step(0.01, optimizer.GradNorm());
  for (const Param* param : params.List()) {
    const at::Tensor moved = Params::Part(params.flat(), *param) - Params::Part(before, *param);
    // The values are below 4, so their spacing is below 2^-22.
    EXPECT_NEAR(moved.max().item<double>(), -0.01, 0x1p-21) << param->name;
    EXPECT_NEAR(moved.min().item<double>(), -0.01, 0x1p-21) << param->name;
  }
}

TEST(Params, SavedModelHoldsEveryTensorOnceAndRunsAsTrained) {
  const Model model = FoldedModel();
  Params params = AllTrained(model);
  params.flat().mul_(1.01);
  const Model out = params.ToModel();
  CheckWeights(out.config, out.plan, out.weights, "test");
  for (const auto& [name, tensor] : model.weights) {
    EXPECT_FLOAT_EQ(out.weights.Get(name).f32()[0], 1.01f * tensor.f32()[0]) << name;
  }
}

TEST(Params, GroupsFreezeAndScale) {
  const Model model = FoldedModel();
  const TrainGroup groups[] = {{"residual.*.q.*", 0}, {"residual.*", 2}, {"blocks.*.q.weight", 1}};
  Params params(model, groups);
  EXPECT_FALSE(params.At("residual.0.q.a").trained());
  EXPECT_EQ(params.At("residual.0.k.a").lr_scale, 2);
  EXPECT_TRUE(params.At("blocks.1.q.weight").trained());
  EXPECT_FALSE(params.At("blocks.1.k.weight").trained());
  EXPECT_FALSE(params.At("embed.weight").trained());
  Student student = MakeStudent(params, model);
  Optimizer optimizer(params, {.weight_decay = 0});
  student.AddGradients(RandomBatch(2, 8, model.config.vocab), nullptr, {.vocab = {.ce = 1}}, 1);
  optimizer.Step(0.01, optimizer.GradNorm());
  const Model out = params.ToModel();
  const auto same = [&](const char* name) {
    const auto a = model.weights.Get(name).f32(), b = out.weights.Get(name).f32();
    return std::equal(a.begin(), a.end(), b.begin());
  };
  EXPECT_TRUE(same("embed.weight"));
  EXPECT_TRUE(same("residual.0.q.a"));
  EXPECT_FALSE(same("residual.0.k.a"));
  EXPECT_FALSE(same("blocks.1.q.weight"));
}

TEST(Params, DecayLeavesVectorsAlone) {
  const Params params = AllTrained(FoldedModel());
  EXPECT_TRUE(params.At("blocks.0.q.weight").decay);
  EXPECT_TRUE(params.At("residual.1.up.b").decay);
  EXPECT_FALSE(params.At("blocks.0.attn_norm.weight").decay);
  EXPECT_FALSE(params.At("final_norm.weight").decay);
}

TEST(Params, TrainingNothingIsAnError) {
  const Model model = FoldedModel();
  const TrainGroup frozen[] = {{"*", 0}};
  EXPECT_THROW(Params(model, frozen), Error);
}

// Both sides of each rank-one part become equally long, and the model stays what it is.
TEST(Balance, GivesBothFactorsOneLength) {
  Model model = FoldedModel();
  const std::string a = "residual.1.q.a", b = "residual.1.q.b", zero = "residual.0.o.b";
  model.weights.Set(a, FromTorch(ToTorch(model.weights.Get(a)) * 0.01));
  model.weights.Set(b, FromTorch(ToTorch(model.weights.Get(b)) * 50));
  model.weights.Set(zero, FromTorch(ToTorch(model.weights.Get(zero)) * 0));  // a zero start
  Model balanced = model;
  const TrainGroup all[] = {{"*"}};
  BalanceFactors(balanced, all);
  const auto before = [&](const std::string& name) { return ToTorch(model.weights.Get(name)); };
  const auto after = [&](const std::string& name) { return ToTorch(balanced.weights.Get(name)); };
  const at::Tensor product = before(b).mm(before(a));
  const float error = (after(b).mm(after(a)) - product).abs().max().item<float>();
  EXPECT_LT(error, 1e-5 * product.abs().max().item<float>());
  EXPECT_TRUE(at::allclose(after(a).norm(2, 1), after(b).norm(2, 0), 1e-5));
  EXPECT_TRUE(at::equal(after("residual.0.o.a"), before("residual.0.o.a")));
  // What is not trained stays to the bit.
  Model frozen = model;
  const TrainGroup other[] = {{"residual.*.a"}};
  BalanceFactors(frozen, other);
  EXPECT_TRUE(at::equal(ToTorch(frozen.weights.Get(a)), before(a)));
}

}  // namespace
}  // namespace rondo
