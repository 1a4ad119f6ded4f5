// Whole runs of recipes with a [speech] section.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/rng.h"
#include "base/temp_dir.h"
#include "rondo/error.h"
#include "rondo/fold.h"
#include "rondo/recognizer.h"
#include "rondo/thread_pool.h"
#include "speech/speech_eval.h"
#include "train/speech/speech_data.h"
#include "train/trainer.h"

namespace rondo {
namespace {

using testing::HasSubstr;

const std::string kManifest = RONDO_TEST_DATA "/speech/kathleen.tsv";

std::string RecipeText(const std::string& out, const std::string& more) {
  return "[speech]\ntrain = '" + kManifest +
         "'\nlayers = 2\nd_model = 16\nd_ff = 24\nheads = 2\nshare = 2\nrank = 2\n"
         "mel_bins = 16\nbatch_frames = 500\ndropout = 0.1\n" +
         more + "\n[run]\nout = '" + out +
         "'\ncheckpoint_steps = 3\ncheckpoint_minutes = 0\nthreads = 1\n"
         "[train]\nsteps = 6\nlr = 1e-3\n";
}

TrainResult RunText(const std::string& text, const TrainOptions& options) {
  return Train(ParseRecipe(text, "recipe.toml", {}), options);
}

TEST(SpeechTrainerTest, ResumedRunsEndWithTheSameBits) {
  const TempDir dir;
  const std::string more =
      "attention = 0.3\ntransducer = 0.2\ndecoder_layers = 1\njoiner_width = 8\n"
      "speeds = [0.9, 1.1]\ndynamic_chunk = 4\n";
  const TrainResult whole = RunText(RecipeText(dir.File("a"), more), {.quiet = true});
  const std::string other = RecipeText(dir.File("b"), more);
  EXPECT_TRUE(RunText(other, {.quiet = true, .stop_after = 4}).model.empty());
  const TrainResult resumed = RunText(other, {.resume = true, .quiet = true});
  EXPECT_EQ(resumed.steps, 6);
  const SpeechModel a = LoadSpeechModel(whole.model), b = LoadSpeechModel(resumed.model);
  const Weights first = JoinWeights(a), second = JoinWeights(b);
  ASSERT_EQ(first.size(), second.size());
  for (const auto& [name, tensor] : first) {
    EXPECT_EQ(ToF32(tensor), ToF32(second.Get(name))) << name;
  }
}

// Units and normalisation come from the data: a run goes on with no other.
TEST(SpeechTrainerTest, OtherDataIsNoticed) {
  const TempDir dir;
  const std::string manifest = dir.File("set.tsv"), audio = RONDO_TEST_DATA "/speech/kathleen.tar";
  const std::string before = ReadTextFile(kManifest);
  WriteTextFile(manifest, before);
  std::string text = RecipeText(dir.File("run"), "audio = \"" + audio + "\"\n");
  text.replace(text.find(kManifest), kManifest.size(), manifest);
  RunText(text, {.quiet = true, .stop_after = 4});
  std::string after = before;
  std::ranges::replace(after, 'e', 'a');
  WriteTextFile(manifest, after);
  EXPECT_THAT([&] { RunText(text, {.resume = true, .quiet = true}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("than the run began with")));
  WriteTextFile(manifest, before);
  EXPECT_EQ(RunText(text, {.resume = true, .quiet = true}).steps, 6);
}

// Four sentences can be learned by heart; what comes out runs as any speech model, CTC first.
TEST(SpeechTrainerTest, LearnsAndIsReadByTheEngine) {
  const TempDir dir;
  const std::string text = RecipeText(dir.File("run"),
                                      "frequency_masks = 0\ntime_masks = 0\n"
                                      "share = 1\nd_model = 48\nd_ff = 96\n");
  std::string longer = text;
  // The second occurrence of a key is an error in TOML: the recipe's own come first.
  for (const std::string key :
       {"share = 2\n", "rank = 2\n", "d_model = 16\n", "d_ff = 24\n", "dropout = 0.1\n"}) {
    longer.replace(longer.find(key), key.size(), key[1] == 'r' ? "dropout = 0.0\n" : "");
  }
  longer.replace(longer.find("steps = 6\nlr = 1e-3"), 19, "steps = 150\nlr = 4e-3");
  longer.replace(longer.find("checkpoint_steps = 3"), 20, "checkpoint_steps = 0");
  const TrainResult result = RunText(longer, {.quiet = true});
  ThreadPool pool(1);
  const Recognizer recognizer(LoadSpeechModel(result.model), {}, pool);
  const SpeechEval eval = EvaluateSpeech(recognizer, ReadManifest(kManifest), {});
  EXPECT_EQ(eval.utterances, 4);
  EXPECT_LT(eval.characters.Rate(), 0.3);
}

TEST(SpeechTrainerTest, SentencePieceUnitsAreTrainedAndTravelWithTheModel) {
  const TempDir dir;
  const TrainResult result = RunText(
      RecipeText(dir.File("run"), "units = 'sentencepiece'\nunit_count = 40\n"), {.quiet = true});
  const SpeechModel model = LoadSpeechModel(result.model);
  const auto units = LoadSpeechUnits(model);
  EXPECT_EQ(units->Decode(units->Encode("There was a Change, now!")), "there was a change now");
}

// A trained encoder, folded and trained back: nothing is lost at full rank, and what a low rank
// lost comes back with the teacher's help. Resumed runs end with the same bits.
class FoldedTest : public testing::Test {
 protected:
  FoldedTest() {
    std::string text = RecipeText(dir_.File("base"), "share = 1\nattention = 0.3\n");
    const std::string tied = "share = 2\nrank = 2\n";
    text.replace(text.find(tied), tied.size(), "");
    base_ = RunText(text, {.quiet = true}).model;
  }
  std::string Fold(const std::string& name, int rank) {
    SpeechModel model = LoadSpeechModel(base_);
    ThreadPool pool(1);
    FoldOptions options;
    options.rank = rank;
    options.order.fill({.order = "sequence", .loops = 2});
    const SharingPlan plan = MakePlan(model.encoder.config, options);
    model.encoder = rondo::Fold(model.encoder, plan, options, pool, true);
    SaveSpeechModel(model, dir_.File(name), DType::kF32);
    return dir_.File(name);
  }
  std::string Text(const std::string& model, const std::string& out, const std::string& train) {
    return "model = '" + model + "'\nteacher = '" + base_ + "'\n[speech]\ntrain = '" + kManifest +
           "'\nattention = 0.3\ndropout = 0.0\nbatch_frames = 500\n[run]\nout = '" +
           dir_.File(out) + "'\nthreads = 1\n[train]\nhidden = 1.0\n" + train;
  }
  static double FirstLoss(const TempDir& dir, const std::string& out, const std::string& key) {
    const std::string log = ReadTextFile(dir.File(out) + "/metrics.jsonl");
    const size_t at = log.find("\"" + key + "\":");
    return at == log.npos ? -1 : std::stod(log.substr(at + key.size() + 3));
  }
  TempDir dir_;
  std::string base_;
};

TEST_F(FoldedTest, FullRankDiffersFromItsTeacherInNothing) {
  RunText(Text(Fold("full", 16), "run", "steps = 1\n"), {.quiet = true});
  // The relative squared error of sums of some hundred roundings of 2^-24.
  EXPECT_LT(FirstLoss(dir_, "run", "hidden"), 1e-9);
  EXPECT_GE(FirstLoss(dir_, "run", "hidden"), 0);
  EXPECT_LT(std::abs(FirstLoss(dir_, "run", "kd")), 1e-5);
}

// The first stage computes in bf16 and learns nothing from the teacher; the second one does, in
// f32.
TEST_F(FoldedTest, TheTeacherComputesAsTheStagesDoThatItTeaches) {
  const std::string stages =
      "[[stages]]\nsteps = 1\nlr = 1e-15\ncompute = 'bf16'\nhidden = 0.0\nkd = 0.0\n"
      "[[stages]]\nsteps = 1\nlr = 1e-15\nkd = 1.0\n";
  RunText(Text(Fold("full", 16), "run", stages), {.quiet = true});
  // As above; a teacher that rounds to bf16 would be some 2^-16 away.
  EXPECT_LT(FirstLoss(dir_, "run", "hidden"), 1e-9);
  EXPECT_GE(FirstLoss(dir_, "run", "hidden"), 0);
}

TEST_F(FoldedTest, TrainingBringsItBackAndResumesToTheSameBits) {
  const std::string folded = Fold("low", 1);
  const std::string train = "steps = 120\nlr = 3e-3\nkd = 1.0\nhidden_depths = [0]\nspike = 0.0\n";
  const TrainResult whole = RunText(Text(folded, "a", train), {.quiet = true});
  const std::string other = Text(folded, "b", train);
  RunText(other, {.quiet = true, .stop_after = 70});
  const TrainResult resumed = RunText(other, {.resume = true, .quiet = true});
  const SpeechModel first = LoadSpeechModel(whole.model), second = LoadSpeechModel(resumed.model);
  const Weights a = JoinWeights(first), b = JoinWeights(second);
  for (const auto& [name, tensor] : a) EXPECT_EQ(ToF32(tensor), ToF32(b.Get(name))) << name;
  const SpeechModel before = LoadSpeechModel(folded);
  EXPECT_EQ(first.encoder.plan, before.encoder.plan);
  EXPECT_EQ(first.config, before.config);

  RunText(Text(whole.model, "after", "steps = 1\n"), {.quiet = true});
  EXPECT_LT(FirstLoss(dir_, "after", "hidden"), 0.5 * FirstLoss(dir_, "a", "hidden"));
}

TEST_F(FoldedTest, ErrorsNameTheField) {
  const std::string folded = Fold("low", 1);
  int runs = 0;
  const auto fails = [&](const std::string& from, const std::string& to,
                         const std::string& expected) {
    std::string text = Text(folded, "run" + std::to_string(++runs), "steps = 1\n");
    text.replace(text.find(from), from.size(), to);
    EXPECT_THAT([&] { RunText(text, {.quiet = true}); },
                testing::ThrowsMessage<Error>(HasSubstr(expected)))
        << to;
  };
  fails("[speech]\n", "[speech]\nlayers = 3\n", "speech.layers");
  fails("attention = 0.3", "transducer = 0.3", "speech.transducer");
  fails("teacher = '" + base_ + "'", "", "teacher");
  fails("hidden = 1.0", "hidden = -1.0", "hidden");
  fails("hidden = 1.0", "hidden = 1.0\nhidden_depths = [2]", "hidden_depths");
  // Another teacher: of other units and statistics.
  const std::string other = dir_.File("other");
  std::string text = RecipeText(other, "units = 'sentencepiece'\nunit_count = 40\n");
  RunText(text, {.quiet = true});
  fails("teacher = '" + base_, "teacher = '" + other + "/model", "teacher");
  fails("attention = 0.3", "attention = 0.3\nspeeds = [0.0]", "speech.speeds");
  const std::string slow = dir_.File("slow");
  RunText(RecipeText(slow, "speeds = [0.8]\nattention = 0.3\n"), {.quiet = true});
  fails("teacher = '" + base_, "teacher = '" + slow + "/model", "other statistics");
}

TEST_F(FoldedTest, AModelOfRandomWeightsLearnsFromATeacherToo) {
  const std::string text = "teacher = '" + base_ + "'\n" +
                           RecipeText(dir_.File("new"), "attention = 0.3\n") + "hidden = 0.5\n";
  const SpeechModel model = LoadSpeechModel(RunText(text, {.quiet = true}).model);
  EXPECT_EQ(model.encoder.plan.loops, 2);
  EXPECT_GT(FirstLoss(dir_, "new", "hidden"), 0.1);
  EXPECT_GT(FirstLoss(dir_, "new", "kd"), 0);
}

TEST(SpeechTrainerTest, ErrorsNameTheField) {
  const TempDir dir;
  int runs = 0;
  const auto fails = [&](const std::string& more, const std::string& expected) {
    const std::string out = dir.File(std::to_string(++runs));
    EXPECT_THAT([&] { RunText(RecipeText(out, more), {.quiet = true}); },
                testing::ThrowsMessage<Error>(HasSubstr(expected)))
        << more;
  };
  fails("conv_kernel = 4\n", "conv_kernel");
  fails("task = 'sing'\n", "speech.task");
  fails("task = 'both'\nattention = 0.3\n", "kathleen.tsv: translation");
  fails("label_smoothing = 1.5\n", "speech.label_smoothing");
  fails("time_width = -1\n", "speech.time_width");
  EXPECT_THAT([&] { RunText(RecipeText(dir.File("a"), "") + "layer_dropout = 0.5\n", {}); },
              testing::ThrowsMessage<Error>(HasSubstr("train.layer_dropout")));
  fails("task = 'translate'\n", "speech.attention");
  fails("units = 'words'\n", "speech.units");
  fails("ctc = 0\n", "speech.ctc");
  fails("speeds = [0.0]\n", "speech.speeds");
  fails("held_out = ['*']\n", "speech.held_out");
  fails("layer = 3\n", "'layers'");
}

TEST(SpeechDataTest, HeldOutUtterancesAreForValidation) {
  SpeechSection speech;
  speech.train = kManifest;
  speech.held_out = {"*a0207*", "*a0098*"};
  const SpeechSets sets = ReadSpeechSets(speech, "recipe.toml");
  EXPECT_EQ(sets.train.size(), 2u);
  ASSERT_EQ(sets.valid.size(), 2u);
  EXPECT_EQ(sets.valid[0].text, "How much was it.");
}

TEST(SpeechDataTest, BatchesHoldEveryUtteranceOnceAndFewFrames) {
  std::vector<SpeechExample> examples(50);
  Rng rng(1);
  for (SpeechExample& e : examples) {
    e.speeds.resize(1);
    e.speeds[0].bins = 1;
    e.speeds[0].values.resize(20 + rng.Next() % 200);
  }
  const BatchShape shape = {.batch_frames = 600, .most_frames = 4000};
  const auto batches = BatchesOfEpoch(examples, shape, 3, 0);
  std::vector<int> seen(examples.size());
  for (const auto& batch : batches) {
    int64_t longest = 0;
    for (const int i : batch) {
      ++seen[static_cast<size_t>(i)];
      longest = std::max(longest, examples[static_cast<size_t>(i)].frames());
    }
    // With the padding to a multiple of 32 frames.
    EXPECT_LE((longest + 31) / 32 * 32 * static_cast<int64_t>(batch.size()), 600);
  }
  EXPECT_THAT(seen, testing::Each(1));
  EXPECT_EQ(batches, BatchesOfEpoch(examples, shape, 3, 0));
  EXPECT_NE(batches, BatchesOfEpoch(examples, shape, 3, 1));
}

}  // namespace
}  // namespace rondo
