// The exit gate in training: its gradient, what it leaves alone, and that the engine decides as the
// trainer measured.
#include "train/loss/gate_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/letter_tokenizer.h"
#include "engine/text_run.h"
#include "train/finite_differences.h"
#include "rondo/generate.h"
#include "train/run/optimizer.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

constexpr int kLength = 20, kRows = 6;

bool OfGate(const Param& param) { return param.name.starts_with("exit_gate."); }

// Three loops of two depths; or two loops of three between depths of their own.
Model LoopedModel(bool middle) {
  ModelConfig config = SmallConfig();
  config.layers = middle ? 8 : 6;
  SharingPlan plan = CyclePlan(config, middle ? 8 : 2, ResidualKind::kLora, 2);
  if (middle) {
    for (const Module m : kAllModules) {
      if (config.HasModule(m) && IsLinear(m)) plan[m].blocks = {0, 1, 2, 3, 1, 2, 3, 4};
    }
  }
  plan.exit_gate = true;
  return RandomModel(config, plan);
}

LossOptions GateOptions(ExitLoss exits) {
  LossOptions loss;
  loss.vocab.ce = 1;
  loss.exits = exits;
  loss.gate = 0.7;
  return loss;
}

TokenBatch Batch(const Model& model) { return RandomBatch(kRows, kLength, model.config.vocab); }

class GateTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  const Model model_ = LoopedModel(GetParam());
  const LoopShape shape_ = FindLoops(model_.plan);
};

INSTANTIATE_TEST_SUITE_P(Plans, GateTest, testing::Values(false, true),
                         [](const auto& test) { return test.param ? "middle_cycle" : "cycle"; });

TEST_P(GateTest, GradientsAreDerivatives) {
  for (const ExitLoss exits : {ExitLoss::kNone, ExitLoss::kWeighted}) {
    Params params = AllTrained(model_);
    Student student = MakeStudent(params, model_);
    const LossOptions options = GateOptions(exits);
    const auto loss = [&] {
      double sum = 0;
      for (const GateLossValue& gate :
           student.AddGradients(Batch(model_), nullptr, options, 1).gates) {
        sum += options.gate * gate.loss;
      }
      return sum;
    };
    EXPECT_EQ(ExpectDerivatives(params, loss, OfGate), 2 * (shape_.loops - 1));
  }
}

TEST_P(GateTest, NothingElseGetsAGradient) {
  LossOptions options = GateOptions(ExitLoss::kWeighted);
  const auto gradients = [&] {
    Params params = AllTrained(model_);
    Student student = MakeStudent(params, model_);
    const StepValue value = student.AddGradients(Batch(model_), nullptr, options, 1);
    Optimizer optimizer(params, {});
    std::vector<at::Tensor> of_model, of_gate;
    for (const Param* param : params.List()) {
      (OfGate(*param) ? of_gate : of_model).push_back(param->value.grad().clone());
    }
    return std::tuple(of_model, of_gate, value.loss, optimizer.GradNorm());
  };
  const auto [with, gate, loss, norm] = gradients();
  options.gate = 0;
  const auto [without, no_gate, same_loss, same_norm] = gradients();
  ASSERT_EQ(with.size(), without.size());
  for (size_t i = 0; i < with.size(); ++i) EXPECT_TRUE(at::equal(with[i], without[i]));
  for (size_t i = 0; i < gate.size(); ++i) {
    EXPECT_GT(gate[i].norm().item<double>(), 0);
    EXPECT_EQ(no_gate[i].norm().item<double>(), 0);
  }
  EXPECT_EQ(loss, same_loss);
  EXPECT_EQ(norm, same_norm);  // so that the model is clipped as without the gate
}

// Hidden states and most likely tokens of a text in the engine, leaving behind each loop.
struct EngineLooks {
  std::vector<std::vector<std::vector<float>>> hidden;  // [loops][tokens][d_model]
  std::vector<std::vector<int32_t>> best;               // [loops][tokens]
};

EngineLooks LookInEngine(const Engine& engine, std::span<const int32_t> tokens) {
  const LoopShape shape = engine.loops();
  const auto vocab = static_cast<size_t>(engine.config().vocab);
  TextRun run(engine, static_cast<int>(tokens.size()));
  run.Start(tokens);
  EngineLooks looks;
  for (int depth = 0; depth < shape.prologue; ++depth) run.RunDepth(depth);
  for (int loop = 0; loop < shape.loops; ++loop) {
    for (int stage = 0; stage < shape.stages; ++stage) run.RunDepth(shape.Depth(loop, stage));
    std::vector<float> leaving = run.hidden();
    for (int i = 0; i < shape.epilogue; ++i) run.RunDepth(shape.EpilogueDepth(i), leaving);
    std::vector<float> logits(tokens.size() * vocab);
    run.Head(leaving, 0, tokens.size(), logits.data());
    auto& hidden = looks.hidden.emplace_back();
    auto& best = looks.best.emplace_back();
    for (size_t i = 0; i < tokens.size(); ++i) {
      hidden.emplace_back(run.row(i).begin(), run.row(i).end());
      const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(i * vocab);
      best.push_back(static_cast<int32_t>(
          std::max_element(begin, begin + static_cast<std::ptrdiff_t>(vocab)) - begin));
    }
  }
  return looks;
}

TEST_P(GateTest, AnswersScoresAndLossAreTheEngines) {
  Params params = AllTrained(model_);
  Student student = MakeStudent(params, model_);
  const TokenBatch batch = Batch(model_);
  ThreadPool pool(1);
  const Engine engine(model_, {}, pool);
  for (const ExitLoss exits : {ExitLoss::kNone, ExitLoss::kWeighted}) {
    const StepValue value = student.AddGradients(batch, nullptr, GateOptions(exits), 1);
    std::vector<GateLossValue> expected(static_cast<size_t>(shape_.loops) - 1);
    for (size_t row = 0; row < kRows; ++row) {
      const EngineLooks looks =
          LookInEngine(engine, std::span(batch.tokens).subspan(row * (kLength + 1), kLength));
      for (size_t loop = 0; loop < expected.size(); ++loop) {
        for (size_t i = 0; i < kLength; ++i) {
          const bool answer = looks.best[loop][i] == looks.best.back()[i];
          const double p = engine.ExitGate(static_cast<int>(loop) + 1, looks.hidden[loop][i]);
          expected[loop].agreement += answer / double{kRows * kLength};
          expected[loop].accuracy += ((p >= 0.5) == answer) / double{kRows * kLength};
          expected[loop].loss -= std::log(answer ? p : 1 - p) / double{kRows * kLength};
        }
      }
    }
    ASSERT_EQ(value.gates.size(), expected.size());
    for (size_t loop = 0; loop < expected.size(); ++loop) {
      EXPECT_NEAR(value.gates[loop].agreement, expected[loop].agreement, 1e-6);
      EXPECT_NEAR(value.gates[loop].accuracy, expected[loop].accuracy, 1e-6);
      EXPECT_NEAR(value.gates[loop].loss, expected[loop].loss, 1e-5);
      EXPECT_GT(expected[loop].agreement, 0);  // both answers occur
      EXPECT_LT(expected[loop].agreement, 1);
    }
  }
}

TEST_P(GateTest, TrainedGateLeavesInTheEngineWhereTheTrainerSays) {
  const TrainGroup gate_only[] = {{"exit_gate.*"}};
  Params params(model_, gate_only);
  Student student = MakeStudent(params, model_);
  Optimizer optimizer(params, {});
  std::vector<double> losses;
  for (int step = 0; step < 40; ++step) {
    const auto gates =
        student.AddGradients(Batch(model_), nullptr, GateOptions(ExitLoss::kNone), 1).gates;
    losses.push_back(gates[0].loss);
    optimizer.Step(0.05, optimizer.GradNorm());
    params.ZeroGrad();
  }
  EXPECT_LT(losses.back(), 0.7 * losses.front());

  const Model trained = params.ToModel();
  ThreadPool pool(1);
  const Engine engine(trained, {}, pool);
  const LetterTokenizer tokenizer;
  const std::vector<int32_t> prompt = RandomTokens(5, 26);
  constexpr float kThreshold = 0.4f;
  GenerateOptions options{.max_new_tokens = 40, .ignore_eos = true};
  options.exit = {.rule = ExitRule::kGate, .threshold = kThreshold};
  const Generation result = Generate(engine, tokenizer, prompt, options);

  std::vector<int32_t> tokens = prompt;
  tokens.insert(tokens.end(), result.tokens.begin(), result.tokens.end());
  const auto length = static_cast<int64_t>(tokens.size());
  std::vector<int> ends;
  for (int loop = 1; loop < shape_.loops; ++loop) ends.push_back(shape_.Depth(loop, 0));
  const TeacherOutput out = Teacher(trained, length).Run(tokens, ShapeOfRows(1, length), ends);
  std::vector<at::Tensor> probabilities;
  for (size_t i = 0; i < ends.size(); ++i) {
    probabilities.push_back(
        at::sigmoid(GateLogits(params, static_cast<int>(i), out.hidden.at(ends[i]))));
  }
  std::set<int> seen;
  for (size_t i = 1; i < result.tokens.size(); ++i) {  // the prompt runs all loops
    const auto position = static_cast<int64_t>(prompt.size() + i) - 1;
    int expected = 1;
    while (expected < shape_.loops &&
           probabilities[static_cast<size_t>(expected) - 1][position].item<float>() < kThreshold) {
      ++expected;
    }
    EXPECT_EQ(result.loops[i], expected) << "token " << i;
    seen.insert(expected);
  }
  EXPECT_GE(seen.size(), 2u) << "the gate never decides";
}

TEST(Gate, StartsAtOneHalfAndReplacesNone) {
  Model model = LoopedModel(false);
  const auto before = ToF32(model.weights.Get(ExitGateTensor(0, "weight")));
  AddExitGate(model);
  EXPECT_EQ(ToF32(model.weights.Get(ExitGateTensor(0, "weight"))), before);
  model.plan.exit_gate = false;
  for (const int loop : {0, 1}) {
    for (const char* part : {"weight", "bias"}) model.weights.Erase(ExitGateTensor(loop, part));
  }
  AddExitGate(model);
  ThreadPool pool(1);
  const Engine engine(model, {}, pool);  // checks plan and tensors
  const std::vector<float> hidden(24, 0.3f);
  EXPECT_EQ(engine.ExitGate(1, hidden), 0.5);
  EXPECT_EQ(engine.ExitGate(2, hidden), 0.5);
  Params params = AllTrained(model);
  Student student = MakeStudent(params, model);
  const StepValue value =
      student.AddGradients(Batch(model), nullptr, GateOptions(ExitLoss::kNone), 1);
  EXPECT_NEAR(value.gates[0].loss, std::log(2.0), 1e-6);
}

// A state of zeros has no direction; the bias alone decides, as in the engine.
TEST(Gate, StateOfZerosIsFinite) {
  const Model model = LoopedModel(false);
  const Params params = Params::Frozen(model);
  const at::Tensor logits = GateLogits(params, 0, at::zeros({1, 24}));
  EXPECT_EQ(logits.item<float>(), params.Get(ExitGateTensor(0, "bias")).item<float>());
}

}  // namespace
}  // namespace rondo
