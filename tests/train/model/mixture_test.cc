// Mixtures of residuals: copies, draws, merging, and the agreement of two draws.
#include "train/model/mixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "rondo/error.h"
#include "train/finite_differences.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

const std::vector<TrainGroup> kAll = {{"*"}};
constexpr int kLength = 8;

Model LoraModel(int blocks = 2, ResidualKind kind = ResidualKind::kLora) {
  return RandomModel(SmallConfig(), CyclePlan(SmallConfig(), blocks, kind, 3));
}

// Copies as far apart as training may bring them.
Params SpreadCopies(const Model& model, int copies) {
  Params params(WithCopies(model, kAll, copies, 7), kAll);
  const at::NoGradGuard no_grad;
  Rng rng(11);
  for (const Param* param : params.List()) {
    if (!IsCopy(param->name)) continue;
    const at::Tensor part = Params::Part(params.flat(), *param);
    float* data = part.mutable_data_ptr<float>();
    for (int64_t i = 0; i < part.numel(); ++i) data[i] += static_cast<float>(0.2 * rng.Normal());
  }
  return params;
}

LossOptions Options(double consistency) {
  LossOptions loss;
  loss.vocab.ce = 0.3f;
  loss.consistency = consistency;
  return loss;
}

StepValue Gradients(const Model& model, Params& params, const LossOptions& options,
                    const StepKey& key = {.seed = 1, .step = 1},
                    Recompute recompute = Recompute::kNone) {
  params.ZeroGrad();
  Student student = MakeStudent(params, model, recompute);
  return student.AddGradients(RandomBatch(2, kLength, model.config.vocab), nullptr, options, 1,
                              key);
}

TEST(Mixture, CopiesDifferAndTheirMeanIsTheFactor) {
  const Model model = LoraModel();
  constexpr int kCopies = 4;
  const Params params(WithCopies(model, kAll, kCopies, 7), kAll);
  const std::string name = ResidualTensor(1, Module::kQ, "a");
  ASSERT_EQ(params.copies().at(name), kCopies);
  const at::Tensor factor = ToTorch(model.weights.Get(name));
  const double rms = factor.square().mean().sqrt().item<double>();
  for (int k = 0; k < kCopies; ++k) {
    const at::Tensor noise = params.Get(CopyName(name, k)) - factor;
    // Of variance (1 − 1/4) times that drawn, from 72 numbers.
    EXPECT_NEAR(noise.square().mean().sqrt().item<double>() / rms, 0.01, 0.004);
    EXPECT_FALSE(at::equal(params.Get(CopyName(name, k)), params.Get(CopyName(name, (k + 1) % 4))));
  }
  const Model merged = params.ToModel();
  CheckWeights(merged.config, merged.plan, merged.weights, "merged");  // no copies are left
  // Each copy is rounded once, and each of three sums.
  const double limit = 6 * 0x1p-24 * factor.abs().max().item<double>() * kCopies;
  EXPECT_LE((ToTorch(merged.weights.Get(name)) - factor).abs().max().item<double>(), limit);
  const at::Tensor embed = ToTorch(model.weights.Get("embed.weight"));
  EXPECT_TRUE(at::equal(ToTorch(merged.weights.Get("embed.weight")), embed));
  // The same seed gives the same copies, another one others.
  const Params again(WithCopies(model, kAll, kCopies, 7), kAll);
  EXPECT_TRUE(at::equal(again.flat(), params.flat()));
  const Params other(WithCopies(model, kAll, kCopies, 8), kAll);
  EXPECT_FALSE(at::equal(other.flat(), params.flat()));
}

TEST(Mixture, OnlyTrainedFactorsOfLowRankHaveCopies) {
  const auto names = [](ResidualKind kind, const std::vector<TrainGroup>& groups) {
    const Model model = LoraModel(2, kind);
    return TrainedFactors(model.config, model.plan, groups).size();
  };
  constexpr size_t kLinears = 7, kDepths = 4;
  EXPECT_EQ(names(ResidualKind::kLora, kAll), 2 * kLinears * kDepths);
  EXPECT_EQ(names(ResidualKind::kDora, kAll), 2 * kLinears * kDepths);
  EXPECT_EQ(names(ResidualKind::kLoraDiag, kAll), 2 * kLinears * kDepths);
  EXPECT_EQ(names(ResidualKind::kKronecker, kAll), 0u);
  EXPECT_EQ(names(ResidualKind::kMulDiag, kAll), 0u);
  EXPECT_EQ(names(ResidualKind::kLora, {{"residual.*.q.a", 2}}), kDepths);
  EXPECT_EQ(names(ResidualKind::kLora, {{"residual.*", 0}, {"*"}}), 0u);
  const std::vector<TrainGroup> some = {{"residual.*.q.a", 2}};
  const Params params(WithCopies(LoraModel(), some, 2, 1), some);
  EXPECT_EQ(params.At(CopyName("residual.0.q.a", 1)).lr_scale, 2);
  EXPECT_FALSE(params.At("residual.0.q.a").trained());
  EXPECT_FALSE(params.Has(CopyName("residual.0.q.b", 0)));
}

TEST(Mixture, FactorsOfZerosStayZero) {
  Model model = LoraModel();
  const std::string name = ResidualTensor(0, Module::kO, "b");
  const at::Tensor zeros = at::zeros_like(ToTorch(model.weights.Get(name)));
  model.weights.Set(name, FromTorch(zeros));
  const Params params(WithCopies(model, kAll, 3, 7), kAll);
  EXPECT_TRUE(at::equal(params.Get(CopyName(name, 2)), zeros));
}

// Which copy of each factor a draw uses.
std::map<std::string, int> Drawn(Params& params, const StepKey& key, int draw) {
  UseDraw(params, key, draw);
  std::map<std::string, int> drawn;
  for (const auto& [name, count] : params.copies()) {
    for (int k = 0; k < count; ++k) {
      if (params.Get(name).is_same(params.Get(CopyName(name, k)))) drawn[name] = k;
    }
  }
  return drawn;
}

TEST(Mixture, DrawsFactorsAloneBySeedAndStep) {
  Params params = SpreadCopies(LoraModel(), 4);
  const StepKey key = {.seed = 1, .step = 1};
  const auto drawn = Drawn(params, key, 0);
  EXPECT_EQ(drawn.size(), params.copies().size());
  EXPECT_EQ(drawn, Drawn(params, {.seed = 1, .step = 1, .micro = 3}, 0));
  EXPECT_NE(drawn, Drawn(params, key, 1));
  EXPECT_NE(drawn, Drawn(params, {.seed = 2, .step = 1}, 0));
  constexpr int kSteps = 1600;
  std::map<std::pair<int, int>, int> pairs;  // of A and B of one residual
  int agree = 0;                             // A's of two depths, first and second draw
  for (int step = 0; step < kSteps; ++step) {
    const auto now = Drawn(params, {.seed = 1, .step = step}, 0);
    ++pairs[{now.at("residual.0.q.a"), now.at("residual.0.q.b")}];
    agree += now.at("residual.0.q.a") == now.at("residual.1.q.a");
    agree += now.at("residual.0.q.a") ==
             Drawn(params, {.seed = 1, .step = step}, 1).at("residual.0.q.a");
  }
  EXPECT_EQ(pairs.size(), 16u);
  // Counts of a chance of 1/16 in 1600, and of 1/4 in 3200: within four and a half deviations.
  for (const auto& [pair, count] : pairs) EXPECT_NEAR(count, 100, 44);
  EXPECT_NEAR(agree, 800, 110);
}

TEST(Mixture, MergesAsAndBsSeparately) {
  const Model model = LoraModel();
  const Params params = SpreadCopies(model, 2);
  for (const char* part : {"a", "b"}) {
    const std::string name = ResidualTensor(2, Module::kDown, part);
    const at::Tensor mean = (params.Get(CopyName(name, 0)) + params.Get(CopyName(name, 1))) / 2;
    EXPECT_TRUE(at::equal(ToTorch(params.ToModel().weights.Get(name)), mean));
  }
}

TEST(Mixture, IsMeasuredMerged) {
  const Model model = LoraModel();
  Params params = SpreadCopies(model, 3);
  const Student student = MakeStudent(params, model);
  UseDraw(params, {}, 0);
  const std::vector<int32_t> tokens = RandomTokens(kLength, model.config.vocab);
  const RowsShape shape = ShapeOfRows(1, kLength);
  const at::Tensor merged = Teacher(params.ToModel(), kLength).Run(tokens, shape).normed;
  EXPECT_TRUE(at::equal(
      student.Snapshot(kLength, false, model.config.d_ff).Run(tokens, shape).normed, merged));
  // Measuring does not disturb what a step computes.
  const Model copies = WithCopies(model, kAll, 2, 1);
  Params a(copies, kAll), b(copies, kAll);
  MakeStudent(a, model).Snapshot(kLength, false, model.config.d_ff);
  Gradients(model, a, Options(1));
  Gradients(model, b, Options(1));
  EXPECT_TRUE(at::equal(a.grad(), b.grad()));
}

TEST(Mixture, OnlyWhatIsDrawnGetsAGradient) {
  const Model model = LoraModel();
  Params params = SpreadCopies(model, 4);
  const StepKey key = {.seed = 3, .step = 5};
  const auto first = Drawn(params, key, 0), second = Drawn(params, key, 1);
  for (const double consistency : {0.0, 1.0}) {
    Gradients(model, params, Options(consistency), key);
    for (const auto& [name, count] : params.copies()) {
      for (int k = 0; k < count; ++k) {
        const double norm = params.Get(CopyName(name, k)).grad().norm().item<double>();
        const bool drawn = k == first.at(name) || (consistency > 0 && k == second.at(name));
        EXPECT_EQ(norm > 0, drawn) << name << " " << k;
      }
    }
  }
}

TEST(Mixture, GradientsOfConsistencyAreDerivatives) {
  at::set_num_threads(1);
  for (const bool softcap : {false, true}) {
    ModelConfig config = SmallConfig();
    if (softcap) config.logit_softcap = 3;
    config.tied_embeddings = softcap;
    const Model model = RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
    Params params = SpreadCopies(model, 2);
    LossOptions options = Options(2);
    options.vocab.ce = 0;
    EXPECT_GT(Gradients(model, params, options).consistency, 0.05);
    const auto loss = [&] {
      const StepValue value = Gradients(model, params, options);
      EXPECT_EQ(value.loss, 2 * value.consistency);
      return value.loss;
    };
    // Two copies and two draws: about three quarters of the copies are in use. The divergence of
    // two unlike draws curves more than other losses.
    const int compared = ExpectDerivatives(params, loss, nullptr, 4e-4);
    EXPECT_GT(compared, static_cast<int>(params.copies().size()));
  }
}

// Beside the other losses, which are those of the first draw.
TEST(Mixture, ConsistencyAddsToTheOtherLosses) {
  const Model model = LoraModel();
  Params params = SpreadCopies(model, 2);
  const StepValue without = Gradients(model, params, Options(0));
  const at::Tensor plain = params.grad().clone();
  const StepValue with = Gradients(model, params, Options(0.5));
  const at::Tensor both = params.grad().clone();
  EXPECT_EQ(with.ce, without.ce);
  EXPECT_NEAR(with.loss, without.loss + 0.5 * with.consistency, 1e-12);
  LossOptions alone = Options(0.5);
  alone.vocab.ce = 0;
  Gradients(model, params, alone);
  const double largest = both.abs().max().item<double>();
  // One backward pass for both losses or two: each of about ten operations a layer, forward and
  // back, rounds by epsilon · sqrt(width), and independent errors add by squares.
  const double operations = 2 * 10.0 * model.config.layers;
  const double limit = 0x1p-24 * std::sqrt(model.config.d_ff) * std::sqrt(operations) * largest;
  EXPECT_LE((both - plain - params.grad()).abs().max().item<double>(), limit);
  EXPECT_GT((both - plain).abs().max().item<double>(), 1000 * limit);
}

TEST(Mixture, DrawsThatAreAlikeAgree) {
  const Model model = LoraModel();
  Params params(WithCopies(model, kAll, 2, 7), kAll);
  for (const auto& [name, count] : params.copies()) {
    const at::Tensor first = Params::Part(params.flat(), params.At(CopyName(name, 0)));
    Params::Part(params.flat(), params.At(CopyName(name, 1))).copy_(first);
  }
  LossOptions options = Options(1);
  options.vocab.ce = 0;
  EXPECT_NEAR(Gradients(model, params, options).consistency, 0, 1e-9);
  EXPECT_LT(params.grad().norm().item<double>(), 1e-5);
}

TEST(Mixture, CheckpointingRepeatsEveryBit) {
  const Model model = LoraModel(4);  // four blocks for four depths: nothing is shared
  Params params = SpreadCopies(model, 3);
  LossOptions options = Options(1);
  options.layer_dropout = 0.5;
  const StepKey key = {.seed = 1, .step = 1};
  Gradients(model, params, options, key);
  const at::Tensor all = params.grad().clone();
  for (const Recompute recompute : {Recompute::kLoop, Recompute::kDepth}) {
    Gradients(model, params, options, key, recompute);
    EXPECT_TRUE(at::equal(all, params.grad()));
  }
}

TEST(Mixture, OffIsTheModelItself) {
  const Model model = LoraModel();
  Params plain = AllTrained(model), none(WithCopies(model, kAll, 0, 7), kAll);
  EXPECT_TRUE(none.copies().empty());
  Gradients(model, plain, Options(0));
  Gradients(model, none, Options(0), {.seed = 5, .step = 9});
  EXPECT_TRUE(at::equal(plain.grad(), none.grad()));
}

}  // namespace
}  // namespace rondo
