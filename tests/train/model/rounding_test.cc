// Training of what will be stored: latents and grids as parameters, their start and their
// gradients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/grad/round_blocks.h"
#include "quant/feedback.h"
#include "train/model/composed_rounding.h"
#include "train/model/rounded_tensor.h"
#include "train/run/optimizer.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ3_0,
                            DType::kQ3_1, DType::kQ2_0, DType::kQ2_1};
const std::vector<TrainGroup> kAll = {{"*"}};

// Two blocks that return, with rows of whole blocks.
ModelConfig WideConfig() {
  ModelConfig config = SmallConfig();
  config.d_model = 32;
  config.heads = config.kv_heads = 4;
  config.head_dim = config.rotary_dim = 8;
  config.d_ff = 64;
  config.tied_embeddings = true;
  return config;
}

Model Shared(ResidualKind residual = ResidualKind::kNone) {
  return RandomModel(WideConfig(), CyclePlan(WideConfig(), 2, residual, 32));
}

RoundTypes AllMatrices(const Model& model, DType dtype) {
  RoundTypes types;
  for (const auto& [name, tensor] : model.weights) {
    if (tensor.shape().size() == 2) types[name] = dtype;
  }
  return types;
}

// As error feedback leaves it: codes that are not the nearest ones.
Model Disturbed(const Model& model, const RoundTypes& types) {
  Model file = model;
  for (const auto& [name, dtype] : types) {
    std::vector<float> values = ToF32(model.weights.Get(name));
    Rng rng(HashText(name));
    for (float& value : values) value += static_cast<float>(0.05 * rng.Normal());
    const Tensor disturbed = Tensor::FromF32(model.weights.Get(name).shape(), std::move(values));
    file.weights.Set(name, Cast(disturbed, dtype));
  }
  return file;
}

struct Rounded {
  Model model, file;
  RoundTypes types;
  Params params;
  Rounded(DType dtype, const Model& of, std::vector<TrainGroup> groups = kAll)
      : model(of),
        file(Disturbed(of, AllMatrices(of, dtype))),
        types(AllMatrices(of, dtype)),
        params(ToLatents(of, types, &file), groups, at::kCPU, {.types = types}) {}
};

void ExpectSameBytes(const Tensor& a, const Tensor& b, const std::string& name) {
  ASSERT_EQ(a.dtype(), b.dtype()) << name;
  EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes())) << name;
}

TEST(Rounding, BeginsAsTheFileIsRounded) {
  for (const DType dtype : kTypes) {
    const Rounded r(dtype, Shared());
    const Model stored = r.params.ToRoundedModel();
    for (const auto& [name, type] : r.types) {
      const Tensor& in_file = r.file.weights.Get(name);
      ExpectSameBytes(stored.weights.Get(name), in_file, name);
      EXPECT_TRUE(at::equal(r.params.Get(name), ToTorch(in_file))) << name;
      // Latents are the model's weights but for those that another code stands for.
      const at::Tensor latents = Params::Part(r.params.flat(), r.params.At(name));
      const at::Tensor weights = ToTorch(r.model.weights.Get(name));
      const double kept = latents.eq(weights).to(at::kFloat).mean().item<double>();
      EXPECT_GT(kept, dtype == DType::kQ8_0 ? 0.01 : 0.2) << name;
      EXPECT_LT(kept, 1) << name;
      const at::Tensor step = r.params.Get(ScaleName(name)).abs().repeat_interleave(kRoundBlock, 1);
      EXPECT_TRUE(((latents - r.params.Get(name)).abs() <= 0.5 * step).all().item<bool>()) << name;
    }
  }
}

TEST(Rounding, BeginsAtTheNearestWithoutAFile) {
  const Model model = Shared();
  const RoundTypes types = AllMatrices(model, DType::kQ4_1);
  const Params params(ToLatents(model, types, nullptr), kAll, at::kCPU, {.types = types});
  for (const auto& [name, dtype] : types) {
    EXPECT_TRUE(at::equal(params.Get(name), ToTorch(Cast(model.weights.Get(name), dtype)))) << name;
  }
}

TEST(Rounding, CountsEveryValueOnce) {
  const Rounded r(DType::kQ4_1, Shared());
  int64_t expected = 0;
  for (const auto& [name, tensor] : r.model.weights) {
    expected += tensor.elements();
    if (r.types.contains(name)) expected += 2 * tensor.elements() / kRoundBlock;
  }
  EXPECT_EQ(r.params.trained_elements(), expected);
  for (const auto& [name, tensor] : r.params.ToModel().weights) EXPECT_FALSE(IsGrid(name));
  CheckWeights(r.model.config, r.model.plan, r.params.ToModel().weights, "latents");
  CheckWeights(r.model.config, r.model.plan, r.params.ToRoundedModel().weights, "rounded");
  EXPECT_FALSE(r.params.At(ScaleName("embed.weight")).decay);
  EXPECT_TRUE(r.params.At("embed.weight").decay);
}

TEST(Rounding, GridsHaveRatesOfTheirOwn) {
  const Model model = Shared();
  const RoundTypes types = AllMatrices(model, DType::kQ2_1);
  const std::vector<TrainGroup> groups = {{"embed.*", 0.5f}, {"*"}};
  const Params params(ToLatents(model, types, nullptr), groups, at::kCPU,
                      {.types = types, .lr_scale = 3});
  EXPECT_FLOAT_EQ(params.At(ScaleName("embed.weight")).lr_scale, 0.5f * 3 * 2 / 4);
  EXPECT_FLOAT_EQ(params.At(OffsetName("embed.weight")).lr_scale, 0.5f * 3);
  EXPECT_FLOAT_EQ(params.At("embed.weight").lr_scale, 0.5f);
}

// A shared tensor's gradient is the sum over its depths, as that of a model with the rounded
// values.
TEST(Rounding, GradientsComeFromAllUsesOfTheRoundedValues) {
  for (const DType dtype : {DType::kQ4_0, DType::kQ3_1}) {
    for (const ResidualKind kind : {ResidualKind::kNone, ResidualKind::kLora}) {
      Rounded r(dtype, Shared(kind));
      Params plain = AllTrained(r.file);
      const TokenBatch batch = RandomBatch(2, 12, r.model.config.vocab);
      LossOptions loss;
      loss.vocab.ce = 1;
      const auto add = [&](Params& params) {
        Student student = MakeStudent(params, r.model, Recompute::kDepth);
        return student.AddGradients(batch, nullptr, loss, 1).loss;
      };
      EXPECT_EQ(add(r.params), add(plain));
      add(r.params);  // a second forward pass of the step
      add(plain);
      r.params.FinishGrad();
      for (const auto& [name, type] : r.types) {
        at::Tensor grad = Params::Part(plain.grad(), plain.At(name)).clone();
        const auto parameter = [&](const std::string& of) {
          return r.params.Has(of) ? Params::Part(r.params.flat(), r.params.At(of)) : at::Tensor();
        };
        const Latents latents = {parameter(name), parameter(ScaleName(name)),
                                 parameter(OffsetName(name))};
        at::Tensor dscale = at::empty_like(latents.scale);
        at::Tensor doffset =
            latents.offset.defined() ? at::empty_like(latents.offset) : at::Tensor();
        RoundTensorBackward(type, latents, grad, dscale, doffset);
        const auto trained = [&](const std::string& of) {
          return Params::Part(r.params.grad(), r.params.At(of));
        };
        EXPECT_TRUE(at::equal(trained(name), grad)) << name;
        EXPECT_TRUE(at::equal(trained(ScaleName(name)), dscale)) << name;
        EXPECT_GT(dscale.abs().max().item<double>(), 0) << name;
        if (doffset.defined()) EXPECT_TRUE(at::equal(trained(OffsetName(name)), doffset)) << name;
      }
    }
  }
}

TEST(Rounding, StepsMoveWhatIsReadAndStored) {
  Rounded r(DType::kQ3_1, Shared());
  const Model before = r.params.ToRoundedModel();
  Optimizer optimizer(r.params, {.ema = 0.5});
  LossOptions loss;
  loss.vocab.ce = 1;
  for (int step = 0; step < 4; ++step) {
    Student student = MakeStudent(r.params, r.model);
    student.AddGradients(RandomBatch(2, 12, r.model.config.vocab), nullptr, loss, 1);
    r.params.FinishGrad();
    optimizer.Step(0.02, optimizer.GradNorm());
    r.params.ZeroGrad();
  }
  const auto expect_stored = [&] {
    const Model stored = r.params.ToRoundedModel();
    for (const auto& [name, type] : r.types) {
      const at::Tensor values = ToTorch(stored.weights.Get(name));
      EXPECT_TRUE(at::equal(r.params.Get(name), values)) << name;
      EXPECT_FALSE(at::equal(values, ToTorch(before.weights.Get(name)))) << name;
    }
    return stored;
  };
  const Model now = expect_stored();
  {
    const AverageInPlace average(optimizer);
    const Model averaged = expect_stored();
    EXPECT_FALSE(std::ranges::equal(averaged.weights.Get("embed.weight").bytes(),
                                    now.weights.Get("embed.weight").bytes()));
  }
  expect_stored();
  std::set<float> moved;  // scales
  const at::Tensor scale = Params::Part(r.params.flat(), r.params.At(ScaleName("embed.weight")));
  EXPECT_FALSE(at::equal(
      scale, ToTorch(ToLatents(r.model, r.types, &r.file).weights.Get(ScaleName("embed.weight")))));
}

TEST(Rounding, WhatIsFrozenStaysAsTheFileHasIt) {
  Rounded r(DType::kQ4_0, Shared(), {{"blocks.*"}});
  EXPECT_FALSE(r.params.At("embed.weight").trained());
  EXPECT_FALSE(r.params.At(ScaleName("embed.weight")).trained());
  r.params.Round();
  ExpectSameBytes(r.params.ToRoundedModel().weights.Get("embed.weight"),
                  r.file.weights.Get("embed.weight"), "embed.weight");
}

TEST(Composed, RoundingIsTheSweep) {
  for (const DType dtype : kTypes) {
    const RoundFormat& format = *FindRoundFormat(dtype);
    const Model model = Shared();
    const Model start = ToLatents(model, {{"embed.weight", dtype}}, nullptr);
    Latents latents = {ToTorch(start.weights.Get("embed.weight")) * 1.3,
                       ToTorch(start.weights.Get(ScaleName("embed.weight"))) * 1.03,
                       {}};
    if (format.HasOffset()) {
      latents.offset = ToTorch(start.weights.Get(OffsetName("embed.weight"))) + 0.01;
    }
    at::Tensor swept = at::empty_like(latents.weight), composed = at::empty_like(swept);
    RoundTensor(dtype, latents, swept);
    ComposedRound(format, latents, composed);
    EXPECT_LE((swept - composed).abs().max().item<double>(), 1e-6) << Info(dtype).name;
    const at::Tensor slope =
        at::randn(swept.sizes(), at::detail::createCPUGenerator(3), at::kFloat);
    std::vector<std::vector<at::Tensor>> results;
    for (const bool fused : {true, false}) {
      at::Tensor grad = slope.clone(), dscale = at::zeros_like(latents.scale);
      at::Tensor doffset = format.HasOffset() ? at::zeros_like(dscale) : at::Tensor();
      if (fused) {
        RoundTensorBackward(dtype, latents, grad, dscale, doffset);
      } else {
        ComposedRoundBackward(format, latents, grad, dscale, doffset);
      }
      results.push_back({grad, dscale});
      if (doffset.defined()) results.back().push_back(doffset);
    }
    for (size_t i = 0; i < results[0].size(); ++i) {
      const double size = results[0][i].abs().max().item<double>();
      EXPECT_LE((results[0][i] - results[1][i]).abs().max().item<double>(), 1e-4 * size);
    }
  }
}

}  // namespace
}  // namespace rondo
