// Whole runs that train what will be stored, on a small real model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/run_log.h"
#include "base/temp_dir.h"
#include "rondo/error.h"
#include "rondo/eval.h"
#include "rondo/export.h"
#include "rondo/tokenizer.h"
#include "train/train_testing.h"
#include "train/trainer.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kStories = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";
const std::string kText = std::string(RONDO_TEST_DATA) + "/enwiki/excerpt.txt.xz";

class RoundedTraining : public testing::Test {
 protected:
  void SetUp() override {
    const Model stories = LoadModel(kStories);
    Model folded =
        RandomModel(stories.config, CyclePlan(stories.config, 3, ResidualKind::kLora, 32));
    folded.path = stories.path;
    SaveModel(folded, dir_.File("folded"), DType::kF32);
    std::ofstream(dir_.File("valid.txt")) << "Once upon a time, there was a little girl. She had a "
                                             "dog. They went to the park and played all day.";
  }

  std::string RecipeText(const std::string& out) const {
    return "model = \"" + dir_.File("folded") + "\"\nteacher = \"" + kStories +
           "\"\n[data]\nfiles = [\"" + kText + "\"]\ncache = \"" + dir_.File("cache") +
           "\"\nlength = 32\n[valid]\ntext = \"" + dir_.File("valid.txt") +
           "\"\ncontext = 16\nevery_steps = 1\n[run]\nout = \"" + dir_.File(out) +
           "\"\nseed = 5\nthreads = 1\ncheckpoint_steps = 3\ncheckpoint_minutes = 0\n"
           "[train]\nsteps = 6\nbatch = 4\naccumulate = 2\nlr = 3e-3\n"
           "round = [\"embed.weight:q4_1\", \"blocks.*.gate.weight:q3_1\", "
           "\"blocks.*.q.weight:q2_0\", \"residual.*.b:q4_0\"]\n";
  }

  TrainResult Go(const std::string& out, std::vector<std::string> settings = {},
                 TrainOptions options = {}) const {
    options.quiet = true;
    return Train(ParseRecipe(RecipeText(out), "recipe.toml", settings), options);
  }

  std::string Message(const std::vector<std::string>& settings) const {
    try {
      Go("refused", settings);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  // The start rounded as `rondo quantize` does it, with other scales than encoders choose.
  std::string RoundedFile() const {
    Model model = LoadModel(dir_.File("folded"));
    TensorTypes types = UniformTypes(model, DType::kF32);
    for (auto& [name, type] : types) {
      const Tensor& tensor = model.weights.Get(name);
      if (!name.starts_with("blocks.") || tensor.shape().size() < 2 || tensor.cols() % 32 != 0) {
        continue;
      }
      type = DType::kQ4_0;
      std::vector<float> values = ToF32(tensor);
      for (float& value : values) value *= 1.05f;
      model.weights.Set(name, Cast(Tensor::FromF32(tensor.shape(), std::move(values)), type));
    }
    ThreadPool pool(1);
    SaveNativeGguf(model, dir_.File("rounded.gguf"), types, pool);
    return dir_.File("rounded.gguf");
  }

  double PerplexityOf(const std::string& path) const {
    const auto tokens =
        LoadTokenizer(kStories)->Encode(ReadTextFile(dir_.File("valid.txt")), {true, false});
    ThreadPool pool(1);
    return Perplexity(Engine(LoadModel(path), {}, pool), tokens, {.context = 16}).perplexity;
  }

  std::vector<double> Measured(const std::string& out) const {
    std::vector<double> measured;
    for (const RunMetrics& m : ReadRunLog(dir_.File(out + "/metrics.jsonl"))) {
      if (m.valid_perplexity) measured.push_back(*m.valid_perplexity);
    }
    return measured;
  }

  std::string Bytes(const std::string& file) const { return ReadTextFile(dir_.File(file)); }

  TempDir dir_;
};

// f32 sums of some hundred terms in another order.
constexpr double kTolerance = 1e-4;

TEST_F(RoundedTraining, MeasuresTheFileThatItWrites) {
  for (const char* ema : {"0", "0.8"}) {
    const std::string out = std::string("run-") + ema;
    const TrainResult result = Go(out, {"train.ema=" + std::string(ema), "run.store=\"f32\""});
    EXPECT_EQ(result.rounded, dir_.File(out + "/model.gguf"));
    EXPECT_NEAR(Measured(out).back() / PerplexityOf(result.rounded), 1, kTolerance);
    // The weights before rounding are another model.
    EXPECT_GT(std::abs(Measured(out).back() / PerplexityOf(result.model) - 1), 10 * kTolerance);
    const Model stored = LoadModel(result.rounded), start = LoadModel(dir_.File("folded"));
    const auto type = [&](const std::string& name) { return stored.weights.Get(name).dtype(); };
    EXPECT_EQ(type("embed.weight"), DType::kQ4_1);
    EXPECT_EQ(type("blocks.1.gate.weight"), DType::kQ3_1);
    EXPECT_EQ(type("blocks.2.q.weight"), DType::kQ2_0);
    EXPECT_EQ(type("residual.4.o.b"), DType::kQ4_0);
    EXPECT_EQ(type("residual.4.o.a"), DType::kF32);
    EXPECT_EQ(type("blocks.0.down.weight"), DType::kF32);
    EXPECT_EQ(stored.plan, start.plan);
  }
}

TEST_F(RoundedTraining, LearnsAtTwoBits) {
  Go("run", {"train.steps=60",
             "train.round=[\"blocks.*.q.*:q2_0\", \"blocks.*.k.*:q2_1\", "
             "\"blocks.*.v.*:q3_1\", \"blocks.*.up.weight:q2_1\"]"});
  EXPECT_LT(Measured("run").back(), 0.5 * Measured("run").front());
}

TEST_F(RoundedTraining, ResumesToTheSameBits) {
  for (const std::string ema : {"train.ema=0", "train.ema=0.9"}) {
    const std::string whole = "whole-" + ema, parts = "parts-" + ema;
    Go(whole, {ema, "train.parameters=[\"blocks.*\", \"residual.*\"]"});
    Go(parts, {ema, "train.parameters=[\"blocks.*\", \"residual.*\"]"}, {.stop_after = 4});
    Go(parts, {ema, "train.parameters=[\"blocks.*\", \"residual.*\"]"}, {.resume = true});
    EXPECT_EQ(Bytes(whole + "/model.gguf"), Bytes(parts + "/model.gguf"));
    EXPECT_EQ(Bytes(whole + "/model/model.safetensors"), Bytes(parts + "/model/model.safetensors"));
    EXPECT_EQ(Measured(whole), Measured(parts));
  }
}

TEST_F(RoundedTraining, BeginsAsTheFileIsRounded) {
  const std::string file = RoundedFile();
  const std::string rounded = "rounded=\"" + file + "\"", none = "train.round=[]";
  Go("run", {rounded, none, "train.steps=1", "train.lr=1e-12"});
  EXPECT_NEAR(Measured("run").front() / PerplexityOf(file), 1, kTolerance);
  // Such a step changes nothing, and scales and codes are still the file's.
  const Model before = LoadModel(file), after = LoadModel(dir_.File("run/model.gguf"));
  int rounded_tensors = 0;
  for (const auto& [name, tensor] : before.weights) {
    if (!IsQuantized(tensor.dtype())) continue;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes(), after.weights.Get(name).bytes())) << name;
    ++rounded_tensors;
  }
  EXPECT_EQ(rounded_tensors, 3 * 6);
  // A pattern's type goes before the file's.
  Go("other", {rounded, "train.round=[\"blocks.*.q.weight:q3_0\"]", "train.steps=1"});
  const Model other = LoadModel(dir_.File("other/model.gguf"));
  EXPECT_EQ(other.weights.Get("blocks.0.q.weight").dtype(), DType::kQ3_0);
  EXPECT_EQ(other.weights.Get("blocks.0.k.weight").dtype(), DType::kQ4_0);
}

// A later stage goes on with the scales and codes that the stage before learned.
TEST_F(RoundedTraining, StagesGoOnWithScales) {
  const std::string stages = "stages=[{steps=3}, {steps=3, lr=1e-12}]";
  Go("whole", {stages});
  const std::vector<double> measured = Measured("whole");
  EXPECT_NEAR(measured.back() / measured[measured.size() - 4], 1, kTolerance);
  Go("parts", {stages}, {.stop_after = 5});
  Go("parts", {stages}, {.resume = true});
  EXPECT_EQ(Bytes("whole/model.gguf"), Bytes("parts/model.gguf"));
  Go("ends", {"stages=[{steps=3}, {steps=1, round=[]}]"});
  EXPECT_FALSE(fs::exists(dir_.File("ends/model.gguf"))) << "the last stage does not round";
}

TEST_F(RoundedTraining, RefusesWhatCannotBeRounded) {
  EXPECT_THAT(Message({"train.round=[\"blocks.*.down.weight:q4_0\"]"}),
              testing::AllOf(HasSubstr("stages.0.round: type q4_0 for 'blocks.0.down.weight'"),
                             HasSubstr("multiple of 32")));
  EXPECT_THAT(Message({"train.round=[\"block.*:q4_0\"]"}),
              HasSubstr("stages.0.round: pattern 'block.*' matches no matrix"));
  EXPECT_THAT(Message({"train.round=[\"blocks.*.attn_norm.weight:q4_0\"]"}),
              HasSubstr("matches no matrix"));
  EXPECT_THAT(Message({"rounded=\"" + kStories + "\""}), HasSubstr("another plan"));
  EXPECT_FALSE(fs::exists(dir_.File("refused")));
}

}  // namespace
}  // namespace rondo
