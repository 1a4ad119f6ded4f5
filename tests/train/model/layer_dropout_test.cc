// Dropout of depths: rates, decisions, rows left alone, gradients.
#include "train/model/layer_dropout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "train/finite_differences.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

TEST(LayerDropout, RatesRiseExponentiallyToTheLargest) {
  for (const int layers : {2, 5, 30}) {
    EXPECT_EQ(LayerDropoutRate(0.3, 0, layers), 0);
    EXPECT_NEAR(LayerDropoutRate(0.3, layers - 1, layers), 0.3, 1e-15);
  }
  // Elhoushi et al. (2024), section 4.1: exp(l ln 2 / (L − 1)) − 1.
  EXPECT_NEAR(LayerDropoutRate(1, 2, 5), std::exp(2 * std::log(2.0) / 4) - 1, 1e-15);
  EXPECT_NEAR(LayerDropoutRate(1, 1, 5), std::exp(1 * std::log(2.0) / 4) - 1, 1e-15);
  EXPECT_EQ(LayerDropoutRate(0.3, 0, 1), 0);
}

TEST(LayerDropout, DropsAsOftenAsTheRateSays) {
  constexpr int kLayers = 6, kRows = 50, kSteps = 400;
  for (int depth = 0; depth < kLayers; ++depth) {
    int64_t dropped = 0;
    for (int step = 0; step < kSteps; ++step) {
      const LayerDropout dropout{.largest = 0.4, .key = {.seed = 1, .step = step}};
      dropped += kRows - static_cast<int64_t>(dropout.KeptRows(depth, kLayers, kRows).size());
    }
    const double rate = LayerDropoutRate(0.4, depth, kLayers), draws = kRows * kSteps;
    // Four standard deviations of a binomial count.
    EXPECT_NEAR(dropped / draws, rate, 4 * std::sqrt(rate * (1 - rate) / draws)) << depth;
  }
}

TEST(LayerDropout, DecidesBySeedStepMicroBatchDepthAndRowAlone) {
  const auto kept = [](const StepKey& key, int depth) {
    return LayerDropout{.largest = 0.9, .key = key}.KeptRows(depth, 100, 200);
  };
  const StepKey key = {.seed = 1, .step = 2, .micro = 3};
  EXPECT_EQ(kept(key, 90), kept(key, 90));
  // 200 decisions at a rate near 0.8 agree by chance with probability 1e-33.
  const std::set<std::vector<int64_t>> all = {
      kept(key, 90), kept({.seed = 2, .step = 2, .micro = 3}, 90),
      kept({.seed = 1, .step = 3, .micro = 3}, 90), kept({.seed = 1, .step = 2, .micro = 4}, 90),
      kept(key, 91)};
  EXPECT_EQ(all.size(), 5u);
  // A smaller batch decides alike about the rows that it has.
  std::vector<int64_t> first = kept(key, 90);
  std::erase_if(first, [](int64_t row) { return row >= 20; });
  EXPECT_EQ((LayerDropout{.largest = 0.9, .key = key}.KeptRows(90, 100, 20)), first);
  // So does whoever has a part of the batch.
  std::vector<int64_t> last = kept(key, 90);
  std::erase_if(last, [](int64_t row) { return row < 150; });
  for (int64_t& row : last) row -= 150;
  const StepKey behind = {.seed = 1, .step = 2, .micro = 3, .first_row = 150};
  EXPECT_EQ((LayerDropout{.largest = 0.9, .key = behind}.KeptRows(90, 100, 50)), last);
}

TEST(LayerDropout, OnlyKeptRowsAreWorkedOn) {
  const at::Tensor hidden = at::arange(24, at::kFloat).view({6, 4});  // three rows of two tokens
  const RowsShape shape = ShapeOfRows(3, 2, std::vector<int32_t>{0, 0, 1, 2, 3, 3});
  const at::Tensor out =
      OnRows({0, 1}, hidden, shape, [&](const at::Tensor& x, const RowsShape& s) {
        EXPECT_EQ(s.rows, 2);
        EXPECT_TRUE(at::equal(s.visible, shape.visible.narrow(0, 0, 2)));
        EXPECT_TRUE(at::equal(x, hidden.narrow(0, 0, 4)));
        return x + 100;
      });
  EXPECT_TRUE(at::equal(out.narrow(0, 0, 4), hidden.narrow(0, 0, 4) + 100));
  EXPECT_TRUE(at::equal(out.narrow(0, 4, 2), hidden.narrow(0, 4, 2)));
  const auto never = [](const at::Tensor& x, const RowsShape&) {
    ADD_FAILURE() << "nothing is left to do";
    return x;
  };
  EXPECT_TRUE(at::equal(OnRows({}, hidden, shape, never), hidden));
}

struct Case {
  Model model;
  LossOptions loss;
  StepKey key = {.seed = 4, .step = 1};
};

Case MakeCase(const SharingPlan& plan) {
  Case setup{RandomModel(SmallConfig(), plan), {}};
  setup.loss.vocab.ce = 1;
  setup.loss.documents_apart = true;
  setup.loss.layer_dropout = 0.7;
  return setup;
}

constexpr int kRows = 5;

double Loss(const Case& s, Params& params, Checkpoint checkpoint = Checkpoint::kNone) {
  Student student = MakeStudent(params, s.model, checkpoint);
  const TokenBatch batch = RandomBatch(kRows, 8, s.model.config.vocab, /*border=*/3);
  return student.AddGradients(batch, nullptr, s.loss, 1, s.key).loss;
}

// Some rows and not all are dropped at two of the four depths, and all rows at one of them.
TEST(LayerDropout, GradientsAreDerivatives) {
  at::set_num_threads(1);
  Case setup = MakeCase(CyclePlan(SmallConfig(), 2, ResidualKind::kLora, 3));
  int partly = 0;
  for (int depth = 0; depth < 4; ++depth) {
    const LayerDropout dropout{.largest = setup.loss.layer_dropout, .key = setup.key};
    const size_t kept = dropout.KeptRows(depth, 4, kRows).size();
    partly += kept > 0 && kept < kRows;
  }
  ASSERT_GE(partly, 2);
  Params params = AllTrained(setup.model);
  const int compared = ExpectDerivatives(params, [&] { return Loss(setup, params); });
  EXPECT_GT(compared, static_cast<int>(params.List().size()) / 2);
}

// A row that skips depths is what the model without these depths makes of it.
TEST(LayerDropout, ARowIsThatOfTheModelWithoutItsDroppedDepths) {
  Case setup = MakeCase(IdentityPlan(SmallConfig()));
  setup.loss.documents_apart = false;
  Params params = AllTrained(setup.model);
  const double loss = Loss(setup, params);
  const TokenBatch batch = RandomBatch(kRows, 8, setup.model.config.vocab, 3);
  const Teacher teacher(setup.model, 8);
  double expected = 0;
  for (int row = 0; row < kRows; ++row) {
    const auto ids = std::span(batch.tokens).subspan(static_cast<size_t>(row) * 9, 9);
    const int first[] = {0};
    const at::NoGradGuard no_grad;
    at::Tensor hidden = teacher.Run(ids.first(8), ShapeOfRows(1, 8), first).hidden.at(0);
    const Forward forward(setup.model.config, 8);
    for (int depth = 0; depth < 4; ++depth) {
      const auto kept =
          LayerDropout{.largest = setup.loss.layer_dropout, .key = setup.key}.KeptRows(depth, 4,
                                                                                       kRows);
      if (std::ranges::find(kept, row) == kept.end()) continue;
      hidden = forward.Layer(teacher.layer(depth), depth, hidden, ShapeOfRows(1, 8));
    }
    const at::Tensor normed = forward.Norm(FinalNormOf(params, setup.model.config), hidden);
    expected += SumCrossEntropy(teacher.head(), normed, ids.subspan(1)) / (8 * kRows);
  }
  EXPECT_NEAR(loss, expected, 1e-5);  // f32, losses near 4
  setup.loss.layer_dropout = 0;
  EXPECT_GT(std::abs(Loss(setup, params) - expected), 1e-3);
}

at::Tensor GradientWith(const Case& s, Checkpoint checkpoint) {
  Params params = AllTrained(s.model);
  Loss(s, params, checkpoint);
  return params.grad().clone();
}

TEST(LayerDropout, CheckpointingRepeatsEveryBit) {
  const Case setup = MakeCase(IdentityPlan(SmallConfig()));
  const at::Tensor all = GradientWith(setup, Checkpoint::kNone);
  EXPECT_GT(all.norm().item<double>(), 0.1);
  EXPECT_TRUE(at::equal(all, GradientWith(setup, Checkpoint::kLoop)));
  EXPECT_TRUE(at::equal(all, GradientWith(setup, Checkpoint::kDepth)));
}

TEST(LayerDropout, OffIsOffWhateverTheKey) {
  Case setup = MakeCase(CyclePlan(SmallConfig(), 2, ResidualKind::kLora, 3));
  const at::Tensor dropped = GradientWith(setup, Checkpoint::kNone);
  setup.loss.layer_dropout = 0;
  const at::Tensor plain = GradientWith(setup, Checkpoint::kNone);
  EXPECT_FALSE(at::equal(dropped, plain));
  setup.key = {.seed = 9, .step = 9, .micro = 9};
  EXPECT_TRUE(at::equal(plain, GradientWith(setup, Checkpoint::kNone)));
}

}  // namespace
}  // namespace rondo
