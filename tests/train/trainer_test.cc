// Whole runs on a small real model: learning, resuming to the same bits, guards, run folders.
#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/file.h"
#include "base/run_log.h"
#include "base/temp_dir.h"
#include "rondo/error.h"
#include "rondo/eval.h"
#include "rondo/ffn_width.h"
#include "rondo/tokenizer.h"
#include "train/language/init.h"
#include "train/model/fading.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kStories = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";
const std::string kText = std::string(RONDO_TEST_DATA) + "/enwiki/excerpt.txt.xz";

class Training : public testing::Test {
 protected:
  void SetUp() override {
    // A fold as it would be: tied matrices with random low-rank residuals.
    const Model stories = LoadModel(kStories);
    const SharingPlan plan = CyclePlan(stories.config, 3, ResidualKind::kLora, 4);
    Model folded = RandomModel(stories.config, plan);
    folded.path = stories.path;
    SaveModel(folded, dir_.File("folded"), DType::kF32);
  }

  std::string RecipeText(const std::string& out) const {
    return "model = \"" + dir_.File("folded") + "\"\nteacher = \"" + kStories +
           "\"\n[data]\nfiles = [\"" + kText + "\"]\ncache = \"" + dir_.File("cache") +
           "\"\nlength = 32\n[run]\nout = \"" + dir_.File(out) +
           "\"\nseed = 5\nthreads = 1\ncheckpoint_steps = 3\ncheckpoint_minutes = 0\n"
           "[train]\nsteps = 6\nbatch = 4\naccumulate = 2\nlr = 1e-3\nema = 0.9\n";
  }

  TrainResult Go(const std::string& out, TrainOptions options = {},
                 std::vector<std::string> settings = {}) const {
    options.quiet = true;
    return Train(ParseRecipe(RecipeText(out), "recipe.toml", settings), options);
  }

  // In place of the fold: one whose blocks return (0 1 0 1 0), with norms of their own.
  void FoldIntoLoops() const {
    const Model stories = LoadModel(kStories);
    Model folded =
        RandomModel(stories.config, CyclePlan(stories.config, 2, ResidualKind::kLora, 4));
    folded.path = stories.path;
    fs::remove_all(dir_.File("folded"));
    SaveModel(folded, dir_.File("folded"), DType::kF32);
  }

  std::string Bytes(const std::string& file) const { return ReadTextFile(dir_.File(file)); }

  TempDir dir_;
};

// Everything that steps draw at random, and the gate.
const std::vector<std::string> kDrawing = {"train.layer_dropout=0.4",  "train.mixture=3",
                                           "train.consistency=0.5",    "train.gate=0.5",
                                           "train.exits=\"weighted\"", "run.checkpoint_steps=2"};

TEST_F(Training, LearnsAndLeavesAModelThatTheEngineRuns) {
  const TrainResult result = Go("run", {}, {"train.steps=40", "train.ema=0", "train.lr=3e-3"});
  EXPECT_EQ(result.steps, 40);
  EXPECT_EQ(result.tokens, 40 * 2 * 4 * 32);
  const std::vector<RunMetrics> log = ReadRunLog(dir_.File("run/metrics.jsonl"));
  std::vector<double> losses;
  for (const RunMetrics& m : log) {
    if (m.loss) losses.push_back(*m.loss);
  }
  ASSERT_EQ(losses.size(), 40u);
  EXPECT_LT(losses.back(), losses.front() - 1);  // nats, from a random start
  const Model trained = LoadModel(result.model);
  EXPECT_EQ(trained.plan, LoadModel(dir_.File("folded")).plan);
  EXPECT_EQ(AllLogits(trained, RandomTokens(5, 512)).size(), 5u * 512);
}

// A run that is killed and resumed ends with the same bytes as one that is not.
TEST_F(Training, ResumesToTheSameBits) {
  Go("whole");
  Go("parts", {.stop_after = 4});  // the checkpoint is at 3: step 4 is lost and done again
  EXPECT_FALSE(fs::exists(dir_.File("parts/model")));
  const TrainResult result = Go("parts", {.resume = true});
  EXPECT_EQ(result.steps, 6);
  EXPECT_EQ(Bytes("whole/model/model.safetensors"), Bytes("parts/model/model.safetensors"));
  const std::string last = "/checkpoints/stage-00-step-00000006";
  EXPECT_EQ(Bytes("whole" + last + ".safetensors"), Bytes("parts" + last + ".safetensors"));
  EXPECT_EQ(Bytes("whole" + last + "/model.safetensors"),
            Bytes("parts" + last + "/model.safetensors"));
  std::vector<int64_t> steps;
  for (const RunMetrics& m : ReadRunLog(dir_.File("parts/metrics.jsonl"))) {
    if (m.loss) steps.push_back(m.step);
  }
  EXPECT_THAT(steps, testing::ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(Training, ResumedRunsOutliveTheCheckpointTheyCameFrom) {
  const std::vector<std::string> settings = {"run.checkpoint_steps=1", "run.keep=1"};
  Go("whole", {}, settings);
  Go("parts", {.stop_after = 2}, settings);
  Go("parts", {.resume = true}, settings);
  EXPECT_NE(LoadTokenizer(dir_.File("parts/checkpoints/stage-00-step-00000006")), nullptr);
  EXPECT_EQ(Bytes("whole/model/model.safetensors"), Bytes("parts/model/model.safetensors"));
}

TEST_F(Training, ResumesInsideALaterStageThatFades) {
  for (const std::string by : {"scale", "rank"}) {
    const std::vector<std::string> stages = {
        "stages=[{kind=\"align\", steps=2}, {steps=4, fade=\"cosine\", fade_window=0.5, "
        "fade_by=\"" +
        by + "\"}]"};
    Go("whole-" + by, {}, stages);
    Go("parts-" + by, {.stop_after = 5}, stages);
    Go("parts-" + by, {.resume = true}, stages);
    EXPECT_EQ(Bytes("whole-" + by + "/model/model.safetensors"),
              Bytes("parts-" + by + "/model/model.safetensors"));
  }
  EXPECT_NE(Bytes("whole-scale/model/model.safetensors"),
            Bytes("whole-rank/model/model.safetensors"));
}

// Of a rest that fades by rank the largest directions stay: the nearest matrix of that rank.
TEST(Fading, KeepsTheLargestDirections) {
  const ModelConfig config = SmallConfig();
  const Model start = RandomModel(config, CyclePlan(config, 2, ResidualKind::kLora, 3));
  const Teacher teacher(RandomModel(config, IdentityPlan(config), 7), 16);
  const FadingRest whole = MakeFadingRest(start, teacher);
  Fading fading(whole, FadeBy::kRank);
  std::vector<double> shares(static_cast<size_t>(config.layers), 0.5);
  shares[1] = 0;
  fading.Set(shares);
  const auto key = std::pair(0, Module::kO);
  const at::Tensor left = whole.rest.at(key) - fading.rest().rest.at(key);
  const at::Tensor values = at::linalg_svdvals(whole.rest.at(key));
  const int64_t kept = (values.size(0) + 1) / 2;
  EXPECT_NEAR(left.norm().item<float>(),
              values.narrow(0, kept, values.size(0) - kept).norm().item<float>(), 1e-4);
  EXPECT_EQ(fading.rest().weight[0], 1);
  EXPECT_EQ(fading.rest().weight[1], 0);
  EXPECT_FALSE(fading.ended());
  fading.End();
  EXPECT_TRUE(fading.ended());
  EXPECT_EQ(fading.rest().weight[0], 0);
}

// Which width a step trains follows from seed and step.
TEST_F(Training, ResumesToTheSameBitsWithSampledWidths) {
  const std::vector<std::string> settings = {"train.widths=[0.25, 0.5, 1.0]", "train.steps=8"};
  Go("whole", {}, settings);
  Go("parts", {.stop_after = 4}, settings);
  Go("parts", {.resume = true}, settings);
  EXPECT_EQ(Bytes("whole/model/model.safetensors"), Bytes("parts/model/model.safetensors"));
  const auto widths = [&](const char* log) {
    std::vector<double> all;
    for (const RunMetrics& m : ReadRunLog(dir_.File(log))) {
      if (m.loss) all.push_back(m.more.at("ffn_width"));
    }
    return all;
  };
  const std::vector<double> whole = widths("whole/metrics.jsonl");
  EXPECT_EQ(widths("parts/metrics.jsonl"), whole);
  EXPECT_EQ(whole.size(), 8u);
  EXPECT_GT(std::set<double>(whole.begin(), whole.end()).size(), 1u);
}

TEST_F(Training, MeasuresEveryWidthAsEvalMeasuresTheCutModel) {
  std::ofstream(dir_.File("valid.txt")) << "Once upon a time, there was a little girl.";
  Go("run", {},
     {"valid.text=\"" + dir_.File("valid.txt") + "\"", "valid.context=16",
      "train.widths=[0.5, 1.0]"});
  const RunMetrics last = ReadRunLog(dir_.File("run/metrics.jsonl")).back();
  const Model model = LoadModel(dir_.File("run/model"));
  ThreadPool pool(2);
  const auto tokens = LoadTokenizer(kStories)->Encode(Bytes("valid.txt"), {true, false});
  const auto perplexity = [&](const Model& m) {
    return Perplexity(Engine(m, {}, pool), tokens, {.context = 16}).perplexity;
  };
  // f32 sums of some hundred terms in another order.
  EXPECT_NEAR(*last.valid_perplexity / perplexity(model), 1, 1e-4);
  EXPECT_NEAR(last.more.at("valid_perplexity_w0.5") / perplexity(CutFfn(model, 0.5)), 1, 1e-4);
  EXPECT_FALSE(last.more.contains("valid_perplexity_w1"));
}

TEST_F(Training, RefusesAWidthThatIsNone) {
  try {
    Go("run", {}, {"train.widths=[0.5, 1.5]"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("stages.0.widths"));
    EXPECT_THAT(error.what(), HasSubstr("at most 1"));
  }
}

TEST_F(Training, ResumesToTheSameBitsWhateverIsDrawnAtRandom) {
  FoldIntoLoops();
  Go("whole", {}, kDrawing);
  Go("parts", {.stop_after = 3}, kDrawing);
  Go("parts", {.resume = true}, kDrawing);
  EXPECT_EQ(Bytes("whole/model/model.safetensors"), Bytes("parts/model/model.safetensors"));
  const std::string last = "/checkpoints/stage-00-step-00000006";
  EXPECT_EQ(Bytes("whole" + last + ".safetensors"), Bytes("parts" + last + ".safetensors"));
  EXPECT_EQ(Bytes("whole" + last + "/model.safetensors"),
            Bytes("parts" + last + "/model.safetensors"));
  const auto of = [&](const std::string& run) {
    std::vector<double> losses;
    for (const RunMetrics& m : ReadRunLog(dir_.File(run + "/metrics.jsonl"))) {
      if (m.loss) losses.push_back(*m.loss);
    }
    return losses;
  };
  EXPECT_EQ(of("whole"), of("parts"));
}

// The copies of a mixture and the rows that skip depths are training's own: what is measured and
// stored is the merged model at full depth, and the next stage begins with it.
TEST_F(Training, MeasuresAndStoresTheMergedModel) {
  FoldIntoLoops();
  std::ofstream(dir_.File("valid.txt")) << "Once upon a time, there was a little girl. She had a "
                                           "dog. They went to the park and played all day.";
  std::vector<std::string> settings = kDrawing;
  settings.push_back("valid.text=\"" + dir_.File("valid.txt") + "\"");
  settings.push_back("valid.context=16");
  settings.push_back("train.ema=0");
  settings.push_back("stages=[{steps=4}, {steps=2, mixture=0}]");
  Go("run", {}, settings);
  std::vector<double> measured;
  for (const RunMetrics& m : ReadRunLog(dir_.File("run/metrics.jsonl"))) {
    if (m.valid_perplexity) measured.push_back(*m.valid_perplexity);
  }
  const auto tokens = LoadTokenizer(kStories)->Encode(Bytes("valid.txt"), {true, false});
  const auto perplexity = [&](const std::string& folder) {
    const Model model = LoadModel(dir_.File(folder));
    ThreadPool pool(2);
    return Perplexity(Engine(model, {}, pool), tokens, {.context = 16}).perplexity;
  };
  ASSERT_EQ(measured.size(), 3u);  // before, and behind each stage
  // f32 sums of some hundred terms in another order.
  EXPECT_NEAR(measured[0] / perplexity("folded"), 1, 1e-4);
  EXPECT_NEAR(measured[1] / perplexity("run/checkpoints/stage-00-step-00000004"), 1, 1e-4);
  EXPECT_NEAR(measured[2] / perplexity("run/model"), 1, 1e-4);
}

TEST_F(Training, CheckpointsOfAMixtureAreOrdinaryModels) {
  FoldIntoLoops();
  Go("run", {}, {"train.mixture=4", "train.ema=0"});
  const Model model = LoadModel(dir_.File("run/checkpoints/stage-00-step-00000006"));
  EXPECT_EQ(model.plan, LoadModel(dir_.File("folded")).plan);
  EXPECT_EQ(AllLogits(model, RandomTokens(5, 512)),
            AllLogits(LoadModel(dir_.File("run/model")), RandomTokens(5, 512)));
}

// The gate learns beside the model, which becomes what it becomes without one, to the bit.
TEST_F(Training, TheGateIsTrainedAndMovesNothingElse) {
  FoldIntoLoops();
  const std::vector<std::string> plain = {"train.exits=\"weighted\"", "train.clip=0.05",
                                          "train.parameters=[\"residual.*\"]", "train.steps=20"};
  std::vector<std::string> gated = plain;
  gated.push_back("train.gate=0.5");
  Go("plain", {}, plain);
  Go("gated", {}, gated);
  const Model without = LoadModel(dir_.File("plain/model"));
  const Model with = LoadModel(dir_.File("gated/model"));
  EXPECT_FALSE(without.plan.exit_gate);
  EXPECT_TRUE(with.plan.exit_gate);
  for (const auto& [name, tensor] : without.weights) {
    EXPECT_EQ(ToF32(tensor), ToF32(with.weights.Get(name))) << name;
  }
  double largest = 0;
  for (const float w : ToF32(with.weights.Get(ExitGateTensor(0, "weight")))) {
    largest = std::max(largest, double{std::abs(w)});
  }
  EXPECT_GT(largest, 1e-4);  // it began at zero
  const RunMetrics last = ReadRunLog(dir_.File("gated/metrics.jsonl")).back();
  for (const char* key : {"gate_loss_1", "gate_accuracy_1", "gate_agreement_1"}) {
    EXPECT_TRUE(last.more.contains(key)) << key;
  }
  EXPECT_LT(last.more.at("gate_loss_1"), 0.69);  // below ln 2, where it began
}

// Before hours are spent, and before the folder is anyone's.
TEST_F(Training, RefusesAtOnceWhatWouldFailInTheEnd) {
  const auto message = [&](const std::vector<std::string>& settings) -> std::string {
    try {
      Go("run", {}, settings);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message({"run.keep=0"}), HasSubstr("run.keep"));
  EXPECT_THAT(message({"run.store=\"fp16\""}), HasSubstr("run.store"));
  EXPECT_THAT(message({"run.store=\"q8_0\""}), HasSubstr("f32, bf16, f16"));
  EXPECT_THAT(message({"stages=[{steps=2}, {steps=2, parameters=[\"residul.*\"]}]"}),
              HasSubstr("stages.1.parameters: pattern 'residul.*' matches no parameter"));
  EXPECT_THAT(message({"data.files=[\"nothing.txt\"]"}), HasSubstr("nothing.txt"));
  EXPECT_THAT(message({"data.length=100000", "train.ce=1", "train.kd=0"}),
              HasSubstr("data.length: value 100000 (expected at most the model's"));
  EXPECT_FALSE(fs::exists(dir_.File("run")));
}

TEST_F(Training, AlignsModelsWithoutResiduals) {
  const Model model = LoadModel(kStories);
  SaveModel(model, dir_.File("folded"), DType::kF32);
  EXPECT_NO_THROW(Go("run", {}, {"train.kind=\"align\""}));
}

TEST_F(Training, HiddenStatesNeedATeacherOfTheSameShape) {
  ModelConfig narrow = LoadModel(kStories).config;
  narrow.layers = 2;
  Model other = RandomModel(narrow, IdentityPlan(narrow));
  other.path = kStories;
  SaveModel(other, dir_.File("folded"), DType::kF32);
  const std::vector<std::vector<std::string>> wanted = {
      {"train.kind=\"align\""}, {"train.hidden=0.5", "train.hidden_depths=[0]"}};
  for (const std::vector<std::string>& settings : wanted) {
    EXPECT_THAT([&] { Go("run", {}, settings); },
                testing::ThrowsMessage<Error>(HasSubstr("2 layers of width")));
  }
}

// What a kill leaves of unfinished checkpoints goes when the run goes on.
TEST_F(Training, UnfinishedCheckpointsAreRemoved) {
  Go("run", {.stop_after = 3});
  const std::string folder = dir_.File("run/checkpoints/");
  for (const std::string name :
       {"stage-00-step-00000099.safetensors", "stage-00-step-00000099.json",
        "stage-00-step-00000099.safetensors.tmp-1", "stage-00-step-00000098.tmp-2/model"}) {
    fs::create_directories(fs::path(folder + name).parent_path());
    WriteTextFile(folder + name, "x");
  }
  Go("run", {.resume = true});
  for (const auto& entry : fs::directory_iterator(folder)) {
    EXPECT_THAT(entry.path().string(), testing::Not(HasSubstr("0000009")));
  }
}

TEST_F(Training, RefusesWhatThePlanDoesNotHave) {
  const auto message = [&](const std::string& setting) -> std::string {
    try {
      Go("run", {}, {setting, "train.parameters=[\"blocks.*\"]"});
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message("train.gate=1"), HasSubstr("there is no loop to leave"));
  EXPECT_THAT(message("train.mixture=4"), HasSubstr("trains no residual"));
  EXPECT_FALSE(fs::exists(dir_.File("run")));
}

// With the rest that a fold lacks, the student begins as the teacher.
TEST_F(Training, FadingBeginsAsTheTeacher) {
  const Model teacher_model = LoadModel(kStories);
  const SharingPlan plan = [&] {
    SharingPlan p = CyclePlan(teacher_model.config, 3, ResidualKind::kLora, 4);
    for (const Module m : kAllModules) {
      if (!IsLinear(m)) p[m] = IdentityPlan(teacher_model.config)[m];
    }
    return p;
  }();
  Model start = RandomModel(teacher_model.config, plan);
  for (const auto& [name, tensor] : teacher_model.weights) {
    if (name.find("norm") != std::string::npos || name.starts_with("embed") ||
        name.starts_with("head")) {
      start.weights.Set(name, tensor);
    }
  }
  start.path = kStories;
  SaveModel(start, dir_.File("folded"), DType::kF32);
  Go("run", {}, {"train.steps=1", "train.fade=\"linear\"", "train.ema=0"});
  const std::vector<RunMetrics> log = ReadRunLog(dir_.File("run/metrics.jsonl"));
  for (const RunMetrics& m : log) {
    // KL between two equal f32 models: rounding of logits near 10, squared, and far below.
    if (m.kd) {
      EXPECT_LT(*m.kd, 1e-6);
    }
  }
  EXPECT_EQ(log.back().step, 1);
}

// What prefix vectors take from a model that is otherwise its teacher, their training gives back.
TEST_F(Training, PrefixVectorsLearnAlone) {
  Model model = LoadModel(kStories);
  model.plan.prefix = 4;
  Rng rng(4);
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    if (!IsPrefixTensor(spec.name)) continue;
    std::vector<float> values(static_cast<size_t>(ElementCount(spec.shape)));
    for (float& value : values) value = static_cast<float>(0.02 * rng.Normal());
    model.weights.Set(spec.name, Tensor::FromF32(spec.shape, std::move(values)));
  }
  SaveModel(model, dir_.File("folded"), DType::kF32);
  const TrainResult result = Go("run", {},
                                {"train.parameters=[\"residual.*\"]", "train.steps=60",
                                 "train.lr=3e-2", "train.ce=0", "train.kd=1", "train.ema=0"});
  std::vector<double> kd;
  for (const RunMetrics& m : ReadRunLog(dir_.File("run/metrics.jsonl"))) {
    if (m.kd) kd.push_back(*m.kd);
  }
  EXPECT_GT(kd.front(), 1e-3);
  EXPECT_LT(kd.back(), kd.front() / 3);
  const Model trained = LoadModel(result.model);
  EXPECT_EQ(ToF32(trained.weights.Get("blocks.0.q.weight")),
            ToF32(model.weights.Get("blocks.0.q.weight")));
}

TEST_F(Training, AlignmentLowersItsError) {
  Go("run", {}, {"train.kind=\"align\"", "train.steps=30", "train.lr=3e-3", "train.ema=0"});
  std::vector<double> losses;
  for (const RunMetrics& m : ReadRunLog(dir_.File("run/metrics.jsonl"))) {
    if (m.loss) losses.push_back(*m.loss);
  }
  EXPECT_LT(losses.back(), 0.8 * losses.front());
}

TEST_F(Training, MeasuresWhatEvalMeasures) {
  std::ofstream(dir_.File("valid.txt")) << "Once upon a time, there was a little girl. She had a "
                                           "dog. They went to the park and played all day.";
  Go("run", {}, {"valid.text=\"" + dir_.File("valid.txt") + "\"", "valid.context=16"});
  const RunMetrics last = ReadRunLog(dir_.File("run/metrics.jsonl")).back();
  const Model model = LoadModel(dir_.File("run/model"));
  ThreadPool pool(2);
  const Engine engine(model, {}, pool);
  const auto tokens = LoadTokenizer(kStories)->Encode(Bytes("valid.txt"), {true, false});
  const PerplexityResult expected = Perplexity(engine, tokens, {.context = 16});
  ASSERT_TRUE(last.valid_perplexity);
  // f32 sums of some hundred terms in another order.
  EXPECT_NEAR(*last.valid_perplexity / expected.perplexity, 1, 1e-4);
}

TEST_F(Training, DivergenceStopsWithAMessageAndKeepsTheCheckpoint) {
  Go("run", {.stop_after = 3});
  // A rate that overflows, from a checkpoint that is whole: the same recipe cannot be changed, so
  // the folder is made to believe that it was always this one.
  fs::remove(dir_.File("run/resolved.toml"));
  try {
    Go("run", {.resume = true}, {"train.lr=1e17", "train.steps=60"});
    FAIL() << "did not stop";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("without a usable gradient"));
  }
  EXPECT_NO_THROW(LoadModel(dir_.File("run/checkpoints/stage-00-step-00000003")));
}

// Samples of a model that is broken fail; what the run says in the end is why.
TEST_F(Training, DivergenceIsWhatARunThatDrawsSamplesEndsWith) {
  for (const std::string lr : {"1e4", "1e17"}) {
    try {
      Go("run-" + lr, {},
         {"train.lr=" + lr, "train.steps=60", "train.ema=0", "valid.text=" + kText,
          "valid.context=32", "valid.max_tokens=64", "valid.every_steps=1",
          "valid.prompts=[\"Once upon a time\"]", "valid.new_tokens=3"});
      FAIL() << "did not stop";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("10 steps in a row without a usable gradient")) << lr;
    }
  }
}

// Too few steps are left for ten in a row: what is there is no model all the same.
TEST_F(Training, AStageDoesNotEndWithABrokenModel) {
  EXPECT_THAT(
      [&] {
        Go("run", {}, {"train.lr=1e17", "train.steps=5", "train.ema=0"});
      },
      testing::ThrowsMessage<Error>(HasSubstr("not finite")));
  EXPECT_FALSE(fs::exists(dir_.File("run/model")));
}

TEST_F(Training, TheSameRecipeAgainSaysHowToGoOn) {
  Go("run");
  EXPECT_THAT([&] { Go("run"); }, testing::ThrowsMessage<Error>(testing::AllOf(
                                      HasSubstr("metrics.jsonl"), HasSubstr("--resume"),
                                      HasSubstr("another run.out"))));
}

// Figures of runs compare where program and machine are the same: every start says what they were.
TEST_F(Training, SaysWhatComputedIt) {
  Go("run", {.stop_after = 4});
  Go("run", {.resume = true});
  const std::vector<RunMetrics> log = ReadRunLog(dir_.File("run/metrics.jsonl"));
  std::vector<RunMetrics> starts;
  for (const RunMetrics& m : log) {
    if (m.event == "run") starts.push_back(m);
  }
  ASSERT_EQ(starts.size(), 2u);
  EXPECT_EQ(log.front(), starts[0]);
  EXPECT_EQ(starts[0].step, 0);
  EXPECT_EQ(starts[1].step, 3);  // of the checkpoint
  for (const RunMetrics& m : starts) {
    for (const char* name : {"version", "commit", "libtorch", "cpu", "instruction_set"}) {
      ASSERT_TRUE(m.names.contains(name)) << name;
      EXPECT_FALSE(m.names.at(name).empty()) << name;
      EXPECT_THAT(Bytes("run/run.json"), HasSubstr(m.names.at(name)));
    }
    EXPECT_EQ(m.names.at("threads"), "1");
    EXPECT_EQ(m.names.at("ranks"), "1");
    EXPECT_TRUE(m.more.empty());  // no curves
  }
  EXPECT_THAT(Bytes("run/run.json"), HasSubstr("\"step\": 3"));
}

TEST_F(Training, RefusesAFolderOfAnotherRecipe) {
  Go("run", {.stop_after = 1});
  EXPECT_THROW(Go("run", {.stop_after = 1}), Error);  // not resumed: the log is there
  try {
    Go("run", {.resume = true}, {"train.lr=5e-4"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("lr = "));
    EXPECT_THAT(error.what(), HasSubstr("the same recipe"));
  }
}

TEST_F(Training, KeepsTheNewestCheckpoints) {
  Go("run", {}, {"run.checkpoint_steps=1", "run.keep=2"});
  int directories = 0;
  for (const auto& entry : fs::directory_iterator(dir_.File("run/checkpoints"))) {
    directories += entry.is_directory();
  }
  EXPECT_EQ(directories, 2);
}

// A cached teacher gives the same bits whether its tokens were there or not, and with every token
// known it teaches what a live one does.
TEST_F(Training, CachedTeacherGivesTheSameBits) {
  const std::vector<std::string> settings = {"teacher_cache=" + dir_.File("top"),
                                             "teacher_top_k=8"};
  Go("first", {}, settings);
  Go("second", {}, settings);
  EXPECT_EQ(Bytes("first/model/model.safetensors"), Bytes("second/model/model.safetensors"));
  EXPECT_EQ(fs::file_size(dir_.File("top/part-0000.top")), 32 + 6u * 8 * (8 + 32 * 8 * 8));
}

TEST_F(Training, CachedTeacherKnowsWhatItCannotTeach) {
  EXPECT_THAT(
      [&] {
        Go("run", {}, {"teacher_cache=top", "train.divergence=reverse-kl"});
      },
      testing::ThrowsMessage<Error>(HasSubstr("divergence")));
}

TEST_F(Training, WritesSamples) {
  Go("run", {},
     {"valid.text=" + kText, "valid.context=64", "valid.max_tokens=128",
      "valid.prompts=[\"Once upon a time\"]", "valid.new_tokens=5"});
  int samples = 0;
  for (const RunMetrics& m : ReadRunLog(dir_.File("run/metrics.jsonl"))) {
    if (m.event != "sample") continue;
    ++samples;
    EXPECT_THAT(m.text, testing::StartsWith("Once upon a time"));
    EXPECT_GT(m.text.size(), std::string("Once upon a time").size());
  }
  EXPECT_EQ(samples, 2);  // at the start and at the end
}

class TrainingFromNothing : public testing::Test {
 protected:
  Recipe Make(const std::string& out, std::vector<std::string> settings = {}) const {
    const std::string text =
        "[init]\ntokenizer = \"" + kStories +
        "\"\nlayers = 4\nd_model = 32\nheads = 2\nmax_positions = 32\n[data]\nfiles = [\"" + kText +
        "\"]\ncache = \"" + dir_.File("cache") + "\"\nlength = 32\n[run]\nout = \"" +
        dir_.File(out) +
        "\"\nthreads = 1\ncheckpoint_steps = 3\n[train]\nsteps = 8\nbatch = 16\nlr = 1e-2\n"
        "ce = 1\nkd = 0\n";
    return ParseRecipe(text, "recipe.toml", settings);
  }
  TempDir dir_;
};

TEST_F(TrainingFromNothing, BeginsUniformAndLearns) {
  const TrainResult result = Train(Make("run", {"train.steps=40"}), {.quiet = true});
  std::vector<double> losses;
  for (const RunMetrics& m : ReadRunLog(dir_.File("run/metrics.jsonl"))) {
    if (m.loss) losses.push_back(*m.loss);
  }
  ASSERT_EQ(losses.size(), 40u);
  EXPECT_NEAR(losses.front(), std::log(512.0), 0.05);  // logits of deviation 0.02 · sqrt(32) = 0.11
  EXPECT_LT(losses.back(), losses.front() - 1);
  EXPECT_EQ(LoadTokenizer(result.model)->vocab_size(), 512);
}

TEST_F(TrainingFromNothing, ResumesToTheSameBits) {
  Train(Make("whole"), {.quiet = true});
  Train(Make("parts"), {.quiet = true, .stop_after = 4});
  Train(Make("parts"), {.resume = true, .quiet = true});
  EXPECT_EQ(ReadTextFile(dir_.File("whole/model/model.safetensors")),
            ReadTextFile(dir_.File("parts/model/model.safetensors")));
}

TEST_F(TrainingFromNothing, AModelAndInitExcludeEachOther) {
  const auto message = [&](Recipe recipe) -> std::string {
    try {
      Train(recipe, {.quiet = true});
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(Make("run", {"model=" + kStories})), HasSubstr("both model and [init]"));
  Recipe neither = Make("run");
  neither.init.reset();
  EXPECT_THAT(message(neither), HasSubstr("neither model nor [init]"));
}

// Fading needs the start again when it is resumed; without a model on disk the run keeps it.
TEST_F(TrainingFromNothing, FadesFromItsOwnStart) {
  // The teacher is another seed of the same sizes, so that its norms are the student's.
  const Recipe shape = Make("run");
  InitSection other = *shape.init;
  other.seed = 1;
  SaveModel(InitialModel(other, ""), dir_.File("teacher"), DType::kF32);
  const std::vector<std::string> settings = {"teacher=" + dir_.File("teacher"), "train.kd=1",
                                             "train.fade=linear"};
  Train(Make("whole", settings), {.quiet = true});
  Train(Make("parts", settings), {.quiet = true, .stop_after = 4});
  Train(Make("parts", settings), {.resume = true, .quiet = true});
  EXPECT_EQ(ReadTextFile(dir_.File("whole/model/model.safetensors")),
            ReadTextFile(dir_.File("parts/model/model.safetensors")));
}

}  // namespace
}  // namespace rondo
