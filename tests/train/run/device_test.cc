// Training on a device that is not the CPU. LibTorch's lazy tensors stand for one: their values are
// out of reach of pointers, and operations refuse to mix them with the CPU's, as a GPU's do.
#include "train/run/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/temp_dir.h"
#include "rondo/error.h"
#include "train/loss/gate_loss.h"
#include "train/model/composed.h"
#include "train/model/fading.h"
#include "train/model/mixture.h"
#include "train/run/optimizer.h"
#include "train/run/validation.h"
#include "train/train_testing.h"

namespace torch::lazy {
TORCH_API void InitTorchScriptBackend();
}

namespace rondo {
namespace {

at::Tensor Random(at::IntArrayRef sizes, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(sizes, generator, at::kFloat);
}

void ExpectNear(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  ASSERT_EQ(a.sizes(), b.sizes());
  const double scale = std::max(1.0, b.abs().max().item<double>());
  EXPECT_LE((a - b).abs().max().item<double>(), tolerance * scale);
}

// Values and gradients of `one` and `other` at the same inputs, along the same direction.
template <typename One, typename Other>
void ExpectSameFunction(const std::vector<at::Tensor>& inputs, One&& one, Other&& other) {
  std::vector<std::vector<at::Tensor>> results;
  const auto run = [&](auto&& function) {
    std::vector<at::Tensor> leaves;
    for (const at::Tensor& x : inputs) leaves.push_back(x.clone().requires_grad_(true));
    const at::Tensor y = function(leaves);
    torch::autograd::backward({y}, {Random(y.sizes(), 99)});
    results.push_back({y.detach()});
    for (const at::Tensor& x : leaves) results.back().push_back(x.grad());
  };
  run(one);
  run(other);
  for (size_t i = 0; i < results[0].size(); ++i) ExpectNear(results[0][i], results[1][i], 2e-6);
}

TEST(Composed, NormsAndActivationsAreTheSweeps) {
  const at::Tensor x = Random({7, 24}, 1), gain = Random({24}, 2);
  using List = std::vector<at::Tensor>;
  ExpectSameFunction(
      List{x, gain}, [](const List& v) { return RmsNormOp(v[0], v[1], 1e-5); },
      [](const List& v) { return ComposedRmsNorm(v[0], v[1], 1e-5); });
  ExpectSameFunction(
      List{x}, [](const List& v) { return RmsNormOp(v[0], {}, 1e-5); },
      [](const List& v) { return ComposedRmsNorm(v[0], {}, 1e-5); });
  for (const Activation kind :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const bool gated : {false, true}) {
      ExpectSameFunction(
          List{x}, [&](const List& v) { return ActivationOp(v[0], kind, gated); },
          [&](const List& v) { return ComposedActivation(v[0], kind, gated); });
    }
  }
}

TEST(Composed, HeadsAreTheSweeps) {
  for (const int rotary : {0, 4, 6}) {
    const HeadShape shape = {
        .rows = 2, .length = 5, .heads = 4, .kv_heads = 2, .head_dim = 6, .rotary_dim = rotary};
    const at::Tensor qkv = Random({10, 48}, 3);
    const at::Tensor angles = rotary > 0 ? Random({8, rotary}, 4) : at::Tensor();
    using List = std::vector<at::Tensor>;
    const auto all = [](const Heads& h) { return at::cat({h.q, h.k, h.v}, 3); };
    ExpectSameFunction(
        List{qkv}, [&](const List& v) { return all(SplitHeads(v[0], angles, shape)); },
        [&](const List& v) { return all(ComposedSplitHeads(v[0], angles, shape)); });
  }
}

// One row at a time through the sweeps, all rows through LibTorch.
void CompareLosses(const VocabLoss& loss, const TopTokens* top) {
  constexpr int64_t kRows = 3, kVocab = 37;
  const std::vector<int32_t> targets = {5, -1, 36};
  at::Tensor z = Random({kRows, kVocab}, 5) * 3, t = Random({kRows, kVocab}, 6) * 3;
  at::Tensor swept = z.clone(), teacher = t.clone(), scratch = at::empty({2 * kVocab});
  ChunkLoss expected;
  for (int64_t r = 0; r < kRows; ++r) {
    const auto at = static_cast<size_t>(r);
    float* row = swept.mutable_data_ptr<float>() + r * kVocab;
    float* space = scratch.mutable_data_ptr<float>();
    VocabLossValue value;
    if (top != nullptr) {
      const auto first = static_cast<size_t>(top->k) * (at + 1);  // rows 1, 2, 3 of what is known
      value = TopLossRow(loss, row, {top->k, top->ids.data() + first, top->log_p.data() + first},
                         kVocab, targets[at], 0.3f, space);
    } else {
      value = VocabLossRow(loss, row, teacher.mutable_data_ptr<float>() + r * kVocab, kVocab,
                           targets[at], 0.3f, space);
    }
    expected.ce += value.ce;
    expected.kd += value.kd;
    expected.correct += value.correct;
  }
  const ChunkTeacher taught = {
      .logits = top != nullptr ? at::Tensor() : t, .top = top, .begin = top != nullptr ? 1 : 0};
  const double crossed = ComposedCrossEntropy(z, targets, loss.softcap);
  const ChunkLoss found = ComposedVocabLoss(loss, z, taught, targets, 0.3f);
  EXPECT_NEAR(found.ce, expected.ce, 1e-5);
  EXPECT_NEAR(crossed, expected.ce, 1e-5);
  EXPECT_NEAR(found.kd, expected.kd, 2e-5);
  EXPECT_EQ(found.correct, expected.correct);
  ExpectNear(z, swept, 2e-6);
}

TEST(Composed, LossesAreTheSweeps) {
  for (const KdKind kind : {KdKind::kForwardKl, KdKind::kReverseKl, KdKind::kJensenShannon,
                            KdKind::kTotalVariation, KdKind::kSymmetricKl}) {
    for (const float temperature : {1.0f, 2.0f}) {
      for (const float softcap : {0.0f, 4.0f}) {
        SCOPED_TRACE(static_cast<int>(kind));
        CompareLosses({.ce = 0.4f,
                       .kd = 0.7f,
                       .kind = kind,
                       .temperature = temperature,
                       .js_lambda = 0.3f,
                       .softcap = softcap},
                      nullptr);
      }
    }
  }
}

TEST(Composed, LossesOfTheMostProbableTokensAreTheSweeps) {
  const at::Tensor teacher = at::log_softmax(Random({4, 37}, 7) * 2, 1);
  for (const int k : {5, 37}) {
    const auto [log_p, ids] = at::topk(teacher, k, 1);
    TopTokens top{.k = k};
    for (int64_t i = 0; i < log_p.numel(); ++i) {
      top.log_p.push_back(log_p.flatten()[i].item<float>());
      top.ids.push_back(static_cast<int32_t>(ids.flatten()[i].item<int64_t>()));
    }
    for (const float softcap : {0.0f, 4.0f}) {
      CompareLosses({.ce = 0.4f, .kd = 0.7f, .softcap = softcap}, &top);
    }
  }
}

const at::Device kLazy(at::kLazy, 0);

// One step with the same model, teacher and batch on either device.
struct DeviceStep {
  LossOptions loss;
  OptimizerOptions optimizer;
  Checkpoint checkpoint = Checkpoint::kNone;
  bool align = false, fade = false, cached = false;
  int mixture = 0;
  int64_t ffn_width = 0;  // 0: the whole
};

// Lazy tensors that are parts of one array cost much: two layers, a few channels.
ModelConfig Tiny(ModelConfig config) {
  config.layers = 2;
  config.d_ff = 8;
  config.vocab = 24;
  if (!config.local_layers.empty()) config.local_layers = {1, 0};
  return config;
}

class OnADevice : public testing::Test {
 protected:
  static void SetUpTestSuite() { torch::lazy::InitTorchScriptBackend(); }

  struct Result {
    StepValue value;
    double norm = 0, cross_entropy = 0, perplexity = 0;
    at::Tensor gradient, weights, average;
    Model model;
  };

  static constexpr int kRows = 2, kLength = 4;

  Result Run(const ModelConfig& config, const DeviceStep& step, at::Device device) const {
    Model start = RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 2));
    const Model original = RandomModel(config, IdentityPlan(config), /*seed=*/8);
    if (step.loss.gate != 0) AddExitGate(start);
    const TrainGroup all[] = {{"*"}};
    Params params(WithCopies(start, all, step.mixture, 4), all, device);
    const Teacher teacher(original, kLength, ComputeType::kF32, device);
    std::optional<Fading> fading;
    if (step.fade) {
      fading.emplace(MakeFadingRest(start, teacher), FadeBy::kScale);
      fading->Set(std::vector<double>(static_cast<size_t>(config.layers), 0.6));
    }
    const TempDir folder;
    std::optional<TeacherCache> cache;
    Student student(params, config, start.plan, kLength, ComputeType::kF32, step.checkpoint,
                    fading ? &fading->rest() : nullptr);
    if (step.cached) student.UseCache(&cache.emplace(folder.File("top"), teacher, 6, kLength));
    if (step.ffn_width > 0) student.set_ffn_width(step.ffn_width);
    Optimizer optimizer(params, step.optimizer);
    const TokenBatch batch = RandomBatch(kRows, kLength, config.vocab, /*border=*/2);
    Result result;
    const StepKey key = {.seed = 6, .step = 2};
    result.value = step.align ? student.AddAlignmentGradients(batch, teacher, step.loss, 1, key)
                              : student.AddGradients(batch, &teacher, step.loss, 1, key);
    result.gradient = params.grad().cpu().clone();
    result.norm = optimizer.GradNorm();
    optimizer.Step(1e-3, result.norm);
    result.weights = params.flat().cpu().clone();
    if (optimizer.average().defined()) result.average = optimizer.average().cpu().clone();
    result.cross_entropy = student.CrossEntropy(batch, step.loss);
    const std::vector<int32_t> tokens = RandomTokens(kLength, config.vocab, 9);
    result.perplexity = MeasurePerplexity(student.Snapshot(kLength, true, config.d_ff), tokens,
                                          {.context = kLength})
                            .perplexity;
    result.model = params.ToModel();
    return result;
  }

  void Compare(const ModelConfig& config, const DeviceStep& step) const {
    Result here = Run(config, step, at::kCPU), there = Run(config, step, kLazy);
    std::vector<double> numbers[2];
    here.value.ForEach([&](double& number) { numbers[0].push_back(number); });
    there.value.ForEach([&](double& number) { numbers[1].push_back(number); });
    ASSERT_EQ(numbers[0].size(), numbers[1].size());
    for (size_t i = 0; i < numbers[0].size(); ++i) {
      EXPECT_NEAR(numbers[0][i], numbers[1][i], 1e-4 * std::max(0.1, std::abs(numbers[0][i]))) << i;
    }
    EXPECT_NEAR(here.norm, there.norm, 1e-4 * here.norm);
    EXPECT_GT(here.norm, 0);
    EXPECT_NEAR(here.cross_entropy, there.cross_entropy, 1e-3);
    EXPECT_NEAR(here.perplexity, there.perplexity, 1e-3 * here.perplexity);
    const double largest = here.gradient.abs().max().item<double>();
    ExpectNear(there.gradient / largest, here.gradient / largest, 2e-5);
    // AdamW's first step is as long as the rate whatever the gradient's length, so a gradient of
    // nothing but rounding may go either way: both ways are at most two rates apart.
    const at::Tensor apart = (here.weights - there.weights).abs();
    EXPECT_LE(apart.max().item<double>(), 2.2e-3);
    EXPECT_LE(apart.mean().item<double>(), 1e-5);
    if (here.average.defined()) {
      EXPECT_LE((here.average - there.average).abs().mean().item<double>(), 1e-5);
    }
    for (const auto& [name, tensor] : here.model.weights) {
      EXPECT_EQ(tensor.shape(), there.model.weights.Get(name).shape()) << name;
    }
  }
};

TEST_F(OnADevice, FamiliesLearnAsOnTheCpu) {
  for (const FamilyCase& family : Families()) {
    // Between them they have every operation; each takes seconds.
    if (family.name != "gemma2" && family.name != "qwen2" && family.name != "gpt2") continue;
    SCOPED_TRACE(family.name);
    Compare(Tiny(family.config), {.loss = {.vocab = {.ce = 0.5f, .kd = 0.5f}}});
  }
}

TEST_F(OnADevice, LeavesEarlyAndDrawsAsOnTheCpu) {
  DeviceStep step = {.loss = {.vocab = {.ce = 0.5f, .kd = 0.5f}}, .mixture = 2};
  step.loss.exits = ExitLoss::kWeighted;
  step.loss.exit_kd = 0.5;
  step.loss.gate = 0.5;
  step.loss.layer_dropout = 0.4;
  step.loss.consistency = 0.5;
  Compare(Tiny(SmallConfig()), step);
}

TEST_F(OnADevice, AlignsAndFadesAsOnTheCpu) {
  Compare(Tiny(SmallConfig()), {.align = true});
  DeviceStep step = {.loss = {.vocab = {.kd = 1}}, .checkpoint = Checkpoint::kLoop, .fade = true};
  step.loss.hidden = 0.3;
  step.loss.hidden_depths = {0, 1};
  step.loss.documents_apart = true;
  step.optimizer.ema = 0.9;
  Compare(Tiny(SmallConfig()), step);
}

TEST_F(OnADevice, LearnsFromACachedTeacherAsOnTheCpu) {
  Compare(Tiny(SmallConfig()), {.loss = {.vocab = {.kd = 1}}, .cached = true, .ffn_width = 4});
}

TEST(Devices, AreNamedWhenThereIsNone) {
  EXPECT_TRUE(FindDevice("cpu", {"recipe.toml", "run"}).is_cpu());
  std::vector<std::string> absent = {"nowhere"};
  if (at::getNumGPUs() == 0) absent.push_back("cuda");
  for (const std::string& name : absent) {
    try {
      FindDevice(name, {"recipe.toml", "run"});
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.info().file, "recipe.toml");
      EXPECT_EQ(error.info().field, "run.device");
      EXPECT_NE(error.info().problem.find(name), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace rondo
