#include "rondo/exit_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "engine/random_model.h"
#include "fold/logistic.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Two overlapping clouds.
struct Clouds {
  explicit Clouds(int64_t rows, int64_t width) : x(rows, width) {
    Rng rng(3);
    for (int64_t r = 0; r < rows; ++r) {
      answers.push_back(rng.Uniform() < 0.3);
      for (int64_t j = 0; j < width; ++j) {
        x(r, j) = rng.Normal() + (answers.back() != 0 ? 0.4 * static_cast<double>(j % 3) : 0);
      }
    }
  }
  MatrixF64 x;
  std::vector<uint8_t> answers;
};

TEST(LogisticTest, GradientVanishesAtTheFit) {
  const Clouds data(300, 7);
  for (const double ridge : {1e-4, 1e-1, 10.0}) {
    const LogisticFit fit = FitLogistic(data.x, data.answers, ridge);
    std::vector<double> gradient(8);
    for (int64_t r = 0; r < 300; ++r) {
      double score = fit.bias;
      for (int64_t j = 0; j < 7; ++j) score += fit.weights[static_cast<size_t>(j)] * data.x(r, j);
      const double error = 1 / (1 + std::exp(-score)) - data.answers[static_cast<size_t>(r)];
      for (int64_t j = 0; j < 7; ++j) gradient[static_cast<size_t>(j)] += error * data.x(r, j);
      gradient[7] += error;
    }
    const double penalty = ridge * 300 / 4;
    for (size_t j = 0; j < 7; ++j) gradient[j] += penalty * fit.weights[j];
    gradient[7] += penalty / 1000 * fit.bias;
    // Newton stops at a relative gain of 1e-9 of a loss of about 200: gradients of some 1e-3.
    for (const double slope : gradient) EXPECT_NEAR(slope, 0, 2e-2) << ridge;
  }
}

TEST(LogisticTest, SeparableAndOneSidedAnswersStayFinite) {
  Clouds data(60, 4);
  for (int64_t r = 0; r < 60; ++r)
    data.x(r, 0) = data.answers[static_cast<size_t>(r)] != 0 ? 5 : -5;
  const LogisticFit separable = FitLogistic(data.x, data.answers, 1e-3);
  EXPECT_TRUE(std::isfinite(separable.bias));
  EXPECT_LT(LogisticLoss(separable, data.x, data.answers), 0.05);
  data.answers.assign(60, 0);
  const LogisticFit never = FitLogistic(data.x, data.answers, 1e-3);
  EXPECT_TRUE(std::isfinite(never.bias));
  EXPECT_LT(LogisticLoss(never, data.x, data.answers), 0.05);
}

class ExitGateTest : public testing::Test {
 protected:
  static Model LoopedModel() {
    ModelConfig config = SmallConfig();
    config.layers = 6;
    return RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 2));
  }
  ThreadPool pool_{2};
  const Model model_ = LoopedModel();
  const Engine engine_{model_, {}, pool_};
  const std::vector<int32_t> tokens_ = RandomTokens(1200, 50);
};

TEST_F(ExitGateTest, FittedModelRunsAndPredictsAgreement) {
  const ExitGateFit fit = FitExitGate(model_, engine_, tokens_, {.context = 40}, pool_);
  EXPECT_EQ(fit.tokens, 1200);
  ASSERT_EQ(fit.agreement.size(), 2u);
  EXPECT_TRUE(fit.model.plan.exit_gate);
  const Engine gated(fit.model, {}, pool_);  // checks plan and tensors
  EXPECT_TRUE(gated.has_exit_gate());
  EXPECT_FALSE(engine_.has_exit_gate());
  // Nothing but the gate changed.
  KvCache a = engine_.NewCache(40), b = gated.NewCache(40);
  const auto text = std::span(tokens_).first(40);
  EXPECT_EQ(engine_.Prefill(a, text), gated.Prefill(b, text));
}

TEST_F(ExitGateTest, GateIsTheFormulaOfItsTensors) {
  const ExitGateFit fit = FitExitGate(model_, engine_, tokens_, {.context = 40}, pool_);
  const Engine gated(fit.model, {}, pool_);
  const auto d = static_cast<size_t>(model_.config.d_model);
  std::vector<float> hidden(d);
  Rng rng(5);
  for (float& value : hidden) value = static_cast<float>(3 * rng.Normal());
  for (const int loop : {1, 2}) {
    const auto w = ToF32(fit.model.weights.Get(ExitGateTensor(loop - 1, "weight")));
    const auto b = ToF32(fit.model.weights.Get(ExitGateTensor(loop - 1, "bias")));
    double squares = 0, dot = 0;
    for (const float value : hidden) squares += double{value} * value;
    for (size_t i = 0; i < d; ++i) dot += double{w[i]} * hidden[i];
    const double z = dot / std::sqrt(squares / static_cast<double>(d)) + b[0];
    EXPECT_NEAR(gated.ExitGate(loop, hidden), 1 / (1 + std::exp(-z)), 1e-12);
  }
  EXPECT_THROW(gated.ExitGate(3, hidden), Error);
  EXPECT_THROW(engine_.ExitGate(1, hidden), Error);
}

TEST_F(ExitGateTest, SameForAnyThreads) {
  ThreadPool one(1);
  const ExitGateFit a = FitExitGate(model_, engine_, tokens_, {.context = 40}, pool_);
  const Engine engine(model_, {}, one);
  const ExitGateFit b = FitExitGate(model_, engine, tokens_, {.context = 40}, one);
  for (const std::string part : {"weight", "bias"}) {
    EXPECT_EQ(ToF32(a.model.weights.Get(ExitGateTensor(0, part))),
              ToF32(b.model.weights.Get(ExitGateTensor(0, part))));
  }
}

TEST_F(ExitGateTest, RefusesModelsWithoutLoopsAndShortTexts) {
  EXPECT_THROW(FitExitGate(model_, engine_, std::span(tokens_).first(99), {}, pool_), Error);
  const Model plain = RandomModel(SmallConfig());
  const Engine engine(plain, {}, pool_);
  try {
    FitExitGate(plain, engine, tokens_, {}, pool_);
    FAIL() << "a model without loops has no exits";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("one loop only"));
  }
}

}  // namespace
}  // namespace rondo
