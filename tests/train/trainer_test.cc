// Whole runs on a small real model: learning, resuming to the same bits, guards, run folders.
#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"
#include "rondo/eval.h"
#include "rondo/run_log.h"
#include "rondo/tokenizer.h"
#include "train/init.h"
#include "train_testing.h"

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

  std::string Bytes(const std::string& file) const { return ReadTextFile(dir_.File(file)); }

  TempDir dir_;
};

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
  const std::vector<std::string> stages = {
      "stages=[{kind=\"align\", steps=2}, {steps=4, fade=\"cosine\", fade_window=0.5}]"};
  Go("whole", {}, stages);
  Go("parts", {.stop_after = 5}, stages);
  Go("parts", {.resume = true}, stages);
  EXPECT_EQ(Bytes("whole/model/model.safetensors"), Bytes("parts/model/model.safetensors"));
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
    if (m.kd) EXPECT_LT(*m.kd, 1e-6);
  }
  EXPECT_EQ(log.back().step, 1);
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
