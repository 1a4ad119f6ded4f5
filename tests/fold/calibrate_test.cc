#include "rondo/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fold/calibrate_layer.h"
#include "fold/held_out.h"
#include "fold/moments.h"
#include "fold/random_model.h"
#include "rondo/error.h"

namespace rondo {
namespace {

double LargestMagnitude(const std::vector<float>& a) {
  double largest = 0;
  for (const float value : a) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

FoldOptions Options(const std::string& order, int rank) {
  FoldOptions fold;
  for (TieOrder& tie : fold.order) tie.order = order;
  fold.rank = rank;
  return fold;
}

CalibrateOptions Small() { return {.context = 16, .max_tokens = 512}; }

TEST(CrossMoment, IsTheMeanProductWhateverTheThreads) {
  Rng rng(1);
  const std::vector<float> a = RandomValues(rng, 1500 * 7), b = RandomValues(rng, 1500 * 300);
  ThreadPool one(1), two(2);
  const MatrixF64 moment = CrossMoment({b.data(), 1500, 300}, {a.data(), 1500, 7}, two);
  double sum = 0;
  for (size_t r = 0; r < 1500; ++r) sum += double{b[r * 300 + 211]} * a[r * 7 + 5];
  // f32 sums of 1024 products of size ~1 round to about 1e-6 of their root mean square, 32.
  EXPECT_NEAR(moment(211, 5), sum / 1500, 1e-6);
  const MatrixF64 again = CrossMoment({b.data(), 1500, 300}, {a.data(), 1500, 7}, one);
  EXPECT_TRUE(std::equal(moment.values().begin(), moment.values().end(), again.values().begin()));
}

// Every family, norm policy and order: with residuals of full rank nothing is lost.
// What calibration and quantisation measure is what the engine computes, prefix vectors included.
TEST(LayerRunner, RunsLayersAsTheEngineDoes) {
  ThreadPool pool(2);
  Model model = RandomModel(LlamaConfig(3), 4);
  model.plan.prefix = 5;
  Rng rng(9);
  for (int depth = 0; depth < 3; ++depth) {
    for (const char* part : {"k", "v"}) {
      model.weights.Set(PrefixTensor(depth, part), Tensor::FromF32({5, 8}, RandomValues(rng, 40)));
    }
  }
  const auto tokens = RandomTokens(24, model.config.vocab, 6);
  LayerRunner runner(model.config, tokens, 24, 0, pool);
  std::vector<float> hidden = runner.Embed(model), expected = hidden;
  const Engine engine(model, {}, pool);
  KvCache cache = engine.NewCache(24);
  for (int depth = 0; depth < 3; ++depth) {
    DenseLayer layer;
    LoadSourceLayer(model, model.plan, depth, layer, pool);
    runner.Run(layer, depth, hidden, {});
    const RowSpan span{&cache, depth, 0, 24};
    engine.RunLayer({&span, 1}, expected.data());
    EXPECT_EQ(hidden, expected) << depth;
  }
}

TEST(FoldCalibrated, FullRankIsTheOriginal) {
  ThreadPool pool(2);
  for (const ModelConfig& config : {LlamaConfig(5), PythiaConfig(4), GemmaConfig(4)}) {
    const Model model = RandomModel(config, 4);
    const auto tokens = RandomTokens(600, config.vocab, 5);
    const auto probe = std::span(tokens).first(20);
    const std::vector<float> expected = Logits(model, probe, pool);
    for (const char* order : {"cycle", "middle-sequence"}) {
      for (const NormPolicy norms : {NormPolicy::kOwn, NormPolicy::kAbsorb}) {
        FoldOptions fold = Options(order, 1000);
        fold.norms = norms;
        const Model folded =
            FoldCalibrated(model, MakePlan(config, fold), fold, tokens, Small(), pool);
        // f32 factors: some 24 roundings of 6e-8 a weight, a few layers deep.
        EXPECT_LT(MaxAbsDifference(Logits(folded, probe, pool), expected),
                  1e-4 * LargestMagnitude(expected))
            << config.family << " " << order;
      }
    }
  }
}

// Held-out error of the logits, against the fold of the weights alone.
TEST(FoldCalibrated, BeatsTheDataFreeFold) {
  ThreadPool pool(2);
  for (const ModelConfig& config : {LlamaConfig(4), PythiaConfig(4), GemmaConfig(4)}) {
    const Model model = RandomModel(config, 7);
    const auto tokens = RandomTokens(1024, config.vocab, 8);
    const auto probe = RandomTokens(30, config.vocab, 9);
    const std::vector<float> expected = Logits(model, probe, pool);
    for (const ResidualKind kind :
         {ResidualKind::kNone, ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora}) {
      FoldOptions fold = Options("sequence", 5);
      fold.residual = kind;
      const SharingPlan plan = MakePlan(config, fold);
      const Model free = Fold(model, plan, fold, pool);
      const Model fitted = FoldCalibrated(model, plan, fold, tokens, Small(), pool);
      EXPECT_LT(MeanSquare(Logits(fitted, probe, pool), expected),
                MeanSquare(Logits(free, probe, pool), expected))
          << config.family << " " << Name(kind);
    }
  }
}

TEST(FoldCalibrated, EveryThreadCountGivesTheSameBytes) {
  const Model model = RandomModel(LlamaConfig(4), 2);
  const auto tokens = RandomTokens(300, model.config.vocab, 3);
  const FoldOptions fold = Options("cycle", 3);
  const SharingPlan plan = MakePlan(model.config, fold);
  ThreadPool one(1), three(3);
  const Model a = FoldCalibrated(model, plan, fold, tokens, Small(), one);
  const Model b = FoldCalibrated(model, plan, fold, tokens, Small(), three);
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const auto& [name, tensor] : a.weights) {
    EXPECT_EQ(MaxAbsDifference(ToF32(tensor), ToF32(b.weights.Get(name))), 0) << name;
  }
}

// Depths before the first tie have nothing to make good.
TEST(FoldCalibrated, LeavesAnUntouchedPrefixAlone) {
  ThreadPool pool(1);
  const Model model = RandomModel(LlamaConfig(6), 2);
  const FoldOptions fold = Options("middle-cycle", 3);
  const Model folded = FoldCalibrated(model, MakePlan(model.config, fold), fold,
                                      RandomTokens(300, 17, 3), Small(), pool);
  const std::string first = BlockTensor(0, Module::kDown);
  EXPECT_EQ(MaxAbsDifference(ToF32(folded.weights.Get(first)), ToF32(model.weights.Get(first))), 0);
}

// Before it reads a token: there are none here.
TEST(FoldCalibrated, RefusesAFoldedModelAtOnceAndNamesTheRemedy) {
  ThreadPool pool(1);
  const FoldOptions fold = Options("cycle", 2);
  const Model model = RandomModel(LlamaConfig(4), 2);
  const SharingPlan plan = MakePlan(model.config, fold);
  Model folded = Fold(model, plan, fold, pool);
  folded.path = "a/model";
  try {
    FoldCalibrated(folded, plan, fold, {}, Small(), pool);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.info().file, "a/model");
    EXPECT_NE(error.info().problem.find("folded already"), std::string::npos) << error.what();
    EXPECT_NE(error.info().expected.find("rondo export"), std::string::npos) << error.what();
  }
}

TEST(FoldCalibrated, RefusesWhatItCannotDo) {
  ThreadPool pool(1);
  const Model model = RandomModel(LlamaConfig(4), 2);
  FoldOptions fold = Options("cycle", 2);
  const SharingPlan plan = MakePlan(model.config, fold);
  const std::vector<int32_t> good = RandomTokens(64, 17, 1), none, foreign = {1, 2, 17};
  EXPECT_THROW(FoldCalibrated(model, plan, fold, none, Small(), pool), Error);
  EXPECT_THROW(FoldCalibrated(model, plan, fold, foreign, Small(), pool), Error);
  EXPECT_THROW(FoldCalibrated(model, plan, fold, good, {.context = 0}, pool), Error);
  fold.residual_start = ResidualStart::kZero;
  EXPECT_THROW(FoldCalibrated(model, plan, fold, good, Small(), pool), Error);
  fold.residual_start = ResidualStart::kFit;
  fold.residual = ResidualKind::kKronecker;
  EXPECT_THROW(FoldCalibrated(model, MakePlan(model.config, fold), fold, good, Small(), pool),
               Error);
}

}  // namespace
}  // namespace rondo
