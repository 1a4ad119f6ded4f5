#include "rondo/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "fold/held_out.h"
#include "fold/random_model.h"
#include "rondo/error.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

ModelConfig Widened(ModelConfig config) {
  config.d_model = 64;
  config.d_ff = 96;
  config.heads = 4;
  config.kv_heads = config.kv_heads == 6 ? 4 : 2;
  config.head_dim = config.rotary_dim = 16;
  config.attn_scale = 0.25f;
  config.vocab = 61;
  return config;
}

std::vector<float> Logits(const Model& model, ThreadPool& pool) {
  return Logits(model, RandomTokens(32, model.config.vocab, 99), pool);
}

// Linears that keep the length of what they read, so that errors grow as in a trained model rather
// than drown the outputs.
Model CalmModel(const ModelConfig& config) {
  Model model = RandomModel(config, 4);
  for (int depth = 0; depth < config.layers; ++depth) {
    for (const Module m : kAllModules) {
      if (!IsLinear(m) || !config.HasModule(m)) continue;
      const Tensor& tensor = model.weights.Get(BlockTensor(depth, m));
      std::vector<float> values = ToF32(tensor);
      for (float& value : values) value *= 0.4f;  // deviation 0.12, about 1 / sqrt(64)
      model.weights.Set(BlockTensor(depth, m), Tensor::FromF32(tensor.shape(), std::move(values)));
    }
  }
  return model;
}

Model Folded(const ModelConfig& config, const std::string& order, ResidualKind kind, int rank,
             ThreadPool& pool) {
  FoldOptions fold;
  for (TieOrder& tie : fold.order) tie.order = order;
  fold.residual = kind;
  fold.rank = rank;
  return Fold(CalmModel(config), MakePlan(config, fold), fold, pool);
}

// As the file would be read.
Model AsStored(Model model, const TensorTypes& types) {
  for (const auto& [name, dtype] : types) {
    model.weights.Set(name, Cast(model.weights.Get(name), dtype));
  }
  return model;
}

QuantizeCalibration Small() { return {.context = 32, .max_tokens = 1024}; }

Model Calibrated(const Model& model, const TensorTypes& types, ThreadPool& pool) {
  const auto tokens = RandomTokens(1024, model.config.vocab, 5);
  return AsStored(QuantizeCalibrated(model, types, tokens, Small(), pool), types);
}

// Held-out error of the logits against rounding to nearest: every family, kinds of sharing and
// residuals. Embedding and head stay f32, so that only what is calibrated counts.
TEST(QuantizeCalibrated, BeatsRoundingToNearest) {
  ThreadPool pool(2);
  const QuantizeOptions options{
      .type = DType::kQ4_0, .embedding = DType::kF32, .head = DType::kF32};
  for (const ModelConfig& base : {LlamaConfig(4), PythiaConfig(4), GemmaConfig(4)}) {
    const ModelConfig config = Widened(base);
    for (const auto& [order, kind] : {std::pair{"identity", ResidualKind::kNone},
                                      {"cycle", ResidualKind::kNone},
                                      {"cycle", ResidualKind::kLora},
                                      {"sequence", ResidualKind::kLoraDiag},
                                      {"cycle", ResidualKind::kDora},
                                      {"cycle", ResidualKind::kMulDiag},
                                      {"middle-sequence", ResidualKind::kKronecker}}) {
      const Model model = Folded(config, order, kind, 32, pool);
      const TensorTypes types = ChooseTypes(model, options).types;
      const std::vector<float> expected = Logits(model, pool);
      const double nearest = MeanSquare(Logits(AsStored(model, types), pool), expected);
      const double fitted = MeanSquare(Logits(Calibrated(model, types, pool), pool), expected);
      // Random tokens leave feedback little correlation to use; residuals do not need it.
      const bool fits = kind != ResidualKind::kNone && kind != ResidualKind::kKronecker;
      EXPECT_LT(fitted, (fits ? 0.7 : 0.9) * nearest)
          << config.family << " " << order << " " << Name(kind);
    }
  }
}

// Blocks of low rank, gains and narrowed feed-forwards, alone and together.
TEST(QuantizeCalibrated, PlansThatChangeMoreThanTies) {
  ThreadPool pool(2);
  const ModelConfig config = Widened(LlamaConfig(4));
  const auto check = [&](const std::function<void(SharingPlan&)>& change) {
    Model model = {.config = config, .plan = IdentityPlan(config), .weights = {}, .path = {}};
    change(model.plan);
    Rng rng(3);
    for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
      const bool norm = spec.name.find("norm") != spec.name.npos;
      const bool gain = spec.name.ends_with(".gain");
      model.weights.Set(spec.name,
                        Tensor::FromF32(spec.shape, RandomValues(rng, ElementCount(spec.shape),
                                                                 norm || gain ? 0.1 : 0.12,
                                                                 norm || gain ? 1 : 0)));
    }
    const TensorTypes types =
        ChooseTypes(model, {.type = DType::kQ4_0, .embedding = DType::kF32, .head = DType::kF32})
            .types;
    const std::vector<float> expected = Logits(model, pool);
    const double nearest = MeanSquare(Logits(AsStored(model, types), pool), expected);
    EXPECT_LT(MeanSquare(Logits(Calibrated(model, types, pool), pool), expected), nearest);
  };
  const auto factors = [](SharingPlan& plan) {
    plan[Module::kUp].factors = {32, 0, 32, 0};
    plan[Module::kO].factors = {0, 32, 0, 0};
  };
  const auto gains = [](SharingPlan& plan) {
    plan[Module::kDown].gains.assign(4, GainKind::kVector);
    plan[Module::kDown].blocks = {0, 1, 1, 2};
  };
  check(factors);
  check(gains);
  check([&](SharingPlan& plan) {
    factors(plan);
    gains(plan);
    plan.ffn_widths = {96, 64, 64, 32};
    plan.patches = {2};
  });
}

// What rounding takes from the shared tensor, a residual of full rank gives back at its depth.
// A trained model's final norm has some directions that are much longer than others; the rows of
// the head are rounded where those are not.
TEST(QuantizeCalibrated, TheHeadIsRoundedByWhatEntersIt) {
  ThreadPool pool(2);
  for (const bool tied : {true, false}) {
    ModelConfig config = Widened(LlamaConfig(4));
    config.tied_embeddings = tied;
    Model model = CalmModel(config);
    std::vector<float> gain = ToF32(model.weights.Get("final_norm.weight"));
    for (size_t i = 0; i < gain.size(); i += 8) gain[i] *= 6;
    model.weights.Set("final_norm.weight", Tensor::FromF32({config.d_model}, std::move(gain)));
    TensorTypes types;
    for (const TensorSpec& spec : ExpectedTensors(config, model.plan)) {
      types[spec.name] = DType::kF32;
    }
    types[tied ? "embed.weight" : "head.weight"] = DType::kQ3_0;
    const std::vector<float> expected = Logits(model, pool);
    // Of the head alone, also where the embedding is the same tensor.
    const auto error = [&](const Model& rounded) {
      Model head = model;
      head.config.tied_embeddings = false;
      head.weights.Set("head.weight", rounded.weights.Get(tied ? "embed.weight" : "head.weight"));
      return MeanSquare(Logits(head, pool), expected);
    };
    EXPECT_LT(error(Calibrated(model, types, pool)), 0.8 * error(AsStored(model, types))) << tied;
  }
}

TEST(QuantizeCalibrated, FullRankResidualsAbsorbTheError) {
  ThreadPool pool(2);
  const Model model = Folded(Widened(LlamaConfig(4)), "cycle", ResidualKind::kLora, 1000, pool);
  const TensorTypes types = ChooseTypes(model, {.type = DType::kQ4_0,
                                                .residual = DType::kF32,
                                                .embedding = DType::kF32,
                                                .head = DType::kF32})
                                .types;
  const std::vector<float> expected = Logits(model, pool);
  const double nearest = MeanSquare(Logits(AsStored(model, types), pool), expected);
  const double fitted = MeanSquare(Logits(Calibrated(model, types, pool), pool), expected);
  EXPECT_LT(fitted, 1e-4 * nearest);
}

TEST(QuantizeCalibrated, SharedTensorsAreStoredOnceAndQuantised) {
  ThreadPool pool(1);
  const Model model = Folded(Widened(LlamaConfig(4)), "cycle", ResidualKind::kLora, 32, pool);
  const TypeChoice choice = ChooseTypes(model, {.type = DType::kQ5_1});
  const auto tokens = RandomTokens(512, model.config.vocab, 5);
  const Model quantized = QuantizeCalibrated(model, choice.types, tokens, Small(), pool);
  EXPECT_EQ(quantized.plan, model.plan);
  EXPECT_EQ(quantized.weights.size(), model.weights.size());
  EXPECT_EQ(quantized.weights.Get("blocks.1.down.weight").dtype(), DType::kQ5_1);
  EXPECT_EQ(quantized.weights.Get("residual.3.down.a").dtype(), DType::kQ8_0);
  // Untouched: norms, embedding and head.
  EXPECT_EQ(ToF32(quantized.weights.Get("embed.weight")), ToF32(model.weights.Get("embed.weight")));
  EXPECT_EQ(ToF32(quantized.weights.Get("blocks.2.attn_norm.weight")),
            ToF32(model.weights.Get("blocks.2.attn_norm.weight")));
}

TEST(QuantizeCalibrated, ThreadsDoNotChangeTheBytes) {
  const ModelConfig config = Widened(LlamaConfig(4));
  ThreadPool one(1), three(3);
  const Model model = Folded(config, "cycle", ResidualKind::kLora, 32, one);
  const TensorTypes types = ChooseTypes(model, {.type = DType::kQ4_0}).types;
  const auto tokens = RandomTokens(512, config.vocab, 5);
  const Model a = QuantizeCalibrated(model, types, tokens, Small(), one);
  const Model b = QuantizeCalibrated(model, types, tokens, Small(), three);
  for (const auto& [name, tensor] : a.weights) {
    const auto other = b.weights.Get(name).bytes();
    EXPECT_TRUE(
        std::equal(tensor.bytes().begin(), tensor.bytes().end(), other.begin(), other.end()))
        << name;
  }
}

TEST(QuantizeCalibrated, RefusesTooLittleText) {
  ThreadPool pool(1);
  const Model model = RandomModel(Widened(LlamaConfig(2)), 1);
  const TensorTypes types = ChooseTypes(model, {}).types;
  EXPECT_THROW(QuantizeCalibrated(model, types, {}, Small(), pool), Error);
}

}  // namespace
}  // namespace rondo
