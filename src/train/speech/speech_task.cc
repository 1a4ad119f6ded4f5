#include "train/speech/speech_task.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/hash.h"
#include "rondo/error.h"
#include "rondo/recognizer.h"
#include "rondo/thread_pool.h"
#include "speech/features.h"
#include "speech/speech_eval.h"
#include "train/model/balance.h"
#include "train/recipe/speech_recipe.h"
#include "train/speech/speech_data.h"
#include "train/speech/speech_init.h"
#include "train/speech/speech_step.h"
#include "train/speech/speech_teacher.h"

namespace rondo {
namespace {

// The place in the data: an epoch, and batches of it that were used.
constexpr int kBatchBits = 32;

constexpr SpecAugmentOptions kNoMasks = {.frequency_masks = 0, .time_masks = 0};

std::vector<Utterance> SpreadOut(const std::vector<Utterance>& all, int limit) {
  const auto count =
      std::min<size_t>(all.size(), limit > 0 ? static_cast<size_t>(limit) : all.size());
  std::vector<Utterance> some;
  for (size_t i = 0; i < count; ++i) some.push_back(all[i * all.size() / count]);
  return some;
}

struct SpeechStage : StageRun {
  SpeechStage(Stage s, const SpeechModel& model, const SpeechSection& speech, const Ranks& ranks,
              const SpeechTeacher* teacher)
      : StageRun(s, AsParameters(model), s.groups, at::kCPU, ranks),
        student(model, params, speech, stage.compute, stage.loss, teacher) {}
  SpeechStudent student;
};

class SpeechTraining : public TrainingTask {
 public:
  explicit SpeechTraining(const RunContext& run)
      : run_(run), recipe_(run.recipe), speech_(*recipe_.speech), pool_(recipe_.run.threads) {}

  void Prepare() override;
  SamplerState Place() const override { return place_; }
  void Restore(const SamplerState& place) override;
  StageRun& BeginStage(const RunState& state, const FoundCheckpoint* found) override;
  StepResult AddGradients(const RunState& state) override;
  bool CanMeasure() const override { return !valid_.empty(); }
  // What random weights say takes long to decode.
  bool MeasuresStart(const RunState& state) const override {
    return state.step == 0 && !BeginsAtRandom();
  }
  Measurement Measure() override;
  CheckpointExtras Extras() override;
  void EndStage(Model trained) override;
  void Save(const std::string& directory, DType store) const override {
    SaveSpeechModel(model_, directory, store);
  }

 private:
  void LoadModels(std::span<const Utterance> texts);
  void LoadData(const SpeechSets& sets);
  GlobalCmvn Normalisation() const;
  uint64_t DataFingerprint() const;
  bool BeginsAtRandom() const { return recipe_.model.empty(); }
  bool Windows() const { return model_.config.front.features == FeatureKind::kWhisper; }
  BatchShape ShapeOfBatches() const;
  SpeechBatch NextBatch(int64_t step, int micro);
  RunMetrics Describe(const SpeechLosses& losses) const;
  SpeechModel Present() const;
  Measurement MeasureTexts(const SpeechModel& model);
  Measurement MeasureDistance(const SpeechModel& model);

  const RunContext& run_;
  const Recipe& recipe_;
  const SpeechSection& speech_;
  ThreadPool pool_;
  SpeechModel model_;  // at the beginning of the stage; its configuration all along
  std::vector<SpeechExample> train_, valid_;
  GlobalCmvn cmvn_;  // without bins where the model does not normalise
  std::optional<SpeechTeacher> teacher_;
  SamplerState place_;
  int64_t epoch_of_batches_ = -1;
  std::vector<std::vector<int>> batches_;
  std::unique_ptr<SpeechStage> stage_;
};

void SpeechTraining::Prepare() {
  CheckSpeechRecipe(recipe_);
  if (run_.ranks.size() > 1) {
    throw Error({.function = "Train",
                 .problem = std::to_string(run_.ranks.size()) + " ranks",
                 .expected = "one process: speech models are not trained by several",
                 .file = recipe_.file,
                 .field = "speech"});
  }
  const SpeechSets sets = ReadSpeechSets(speech_, recipe_.file);
  LoadModels(sets.train);
  LoadData(sets);
  const Weights weights = JoinWeights(model_);
  for (size_t i = 0; i < recipe_.stages.size(); ++i) CheckPatterns(recipe_, i, weights);
  place_ = {.next_row = 0, .data = DataFingerprint()};
}

// The model, without weights where they begin at random, and its teacher.
void SpeechTraining::LoadModels(std::span<const Utterance> texts) {
  if (BeginsAtRandom()) {
    model_ = SpeechShapeOf(speech_, texts, RunPath(recipe_, "units"), recipe_.file);
  } else {
    model_ = LoadSpeechModel(recipe_.model);
    CheckSpeechModelOf(recipe_, model_);
  }
  std::vector<Stage> stages;
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    stages.push_back(ResolveSpeechStage(recipe_, i, model_.encoder.config));
  }
  if (recipe_.teacher.empty()) return;
  const SpeechModel teacher = LoadSpeechModel(recipe_.teacher);
  CheckSpeechTeacher(recipe_, model_, teacher);
  teacher_.emplace(teacher, TeacherCompute(stages));
}

void SpeechTraining::LoadData(const SpeechSets& sets) {
  const std::vector<Utterance> valid = SpreadOut(sets.valid, speech_.valid_limit);
  const double as_it_is[] = {1.0};
  if (Windows()) {
    train_ = LoadWindows(model_, sets.train, speech_.speeds, run_.quiet);
    valid_ = LoadWindows(model_, valid, as_it_is, run_.quiet);
  } else {
    const std::shared_ptr<const SpeechUnits> units = LoadSpeechUnits(model_);
    const FbankOptions fbank = FbankOf(model_.config.front);
    train_ = LoadExamples(sets.train, fbank, speech_.speeds, units.get(), pool_, run_.quiet);
    valid_ = LoadExamples(valid, fbank, as_it_is, nullptr, pool_, run_.quiet);
  }
  if (train_.empty()) {
    throw Error({.function = "Train",
                 .problem = Windows() ? "less speech than one window"
                                      : "no utterance is as long as a frame",
                 .expected = "audio to train on",
                 .file = speech_.train});
  }
  if (model_.config.front.normalize) cmvn_ = Normalisation();
  if (BeginsAtRandom()) InitSpeechWeights(recipe_.run.seed, cmvn_, model_);
  if (teacher_) CheckSameNormalisation(recipe_, cmvn_, teacher_->cmvn());
}

// The model's own, or that of the data where it begins with them.
GlobalCmvn SpeechTraining::Normalisation() const {
  if (!BeginsAtRandom()) return CmvnOf(model_);
  CmvnStatistics statistics;
  for (const SpeechExample& example : train_) {
    for (const Features& features : example.speeds) statistics.Add(features);
  }
  return GlobalCmvn(statistics, {});
}

// What decides the order of utterances, their targets and the shapes of batches.
uint64_t SpeechTraining::DataFingerprint() const {
  uint64_t hash = 0;
  for (const std::string& unit : model_.config.units.list) {
    hash = CombineHash(hash, HashText(unit));
  }
  for (const SpeechExample& example : train_) {
    hash = CombineHash(hash, HashText(example.utterance.id));
    for (const Features& features : example.speeds) {
      hash = CombineHash(hash, static_cast<uint64_t>(features.frames()));
    }
    for (const auto* units : {&example.units, &example.translation}) {
      for (const int32_t unit : *units) hash = CombineHash(hash, static_cast<uint64_t>(unit));
    }
  }
  return hash;
}

void SpeechTraining::Restore(const SamplerState& place) {
  if (place.data != place_.data) {
    throw Error({.function = "Train",
                 .problem = "other utterances, texts or units than the run began with, or a "
                            "checkpoint older than the hash of texts in use",
                 .expected = "the same, or another run.out",
                 .file = speech_.train});
  }
  place_ = place;
}

StageRun& SpeechTraining::BeginStage(const RunState& state, const FoundCheckpoint* found) {
  if (found != nullptr) {
    model_ = SplitWeights(model_, JoinWeights(LoadSpeechModel(found->model)));
    CheckSpeechModel(model_);
  }
  Stage stage =
      ResolveSpeechStage(recipe_, static_cast<size_t>(state.stage), model_.encoder.config);
  if (found == nullptr && stage.limits.balance) {
    BalanceFactors(model_.encoder, stage.groups, "encoder.");
  }
  const SpeechTeacher* teacher = stage.NeedsTeacher() ? &*teacher_ : nullptr;
  stage_ = std::make_unique<SpeechStage>(std::move(stage), model_, speech_, run_.ranks, teacher);
  return *stage_;
}

BatchShape SpeechTraining::ShapeOfBatches() const {
  return {
      .batch_frames = speech_.batch_frames,
      .most_frames = int64_t{model_.encoder.config.max_positions} * model_.config.Subsampling()};
}

SpeechBatch SpeechTraining::NextBatch(int64_t step, int micro) {
  auto epoch = static_cast<int64_t>(place_.next_row >> kBatchBits);
  uint64_t index = place_.next_row & ((uint64_t{1} << kBatchBits) - 1);
  const auto load = [&] {
    if (epoch_of_batches_ == epoch) return;
    batches_ = BatchesOfEpoch(train_, ShapeOfBatches(), recipe_.run.seed, epoch);
    epoch_of_batches_ = epoch;
  };
  load();
  if (index >= batches_.size()) {
    ++epoch;
    index = 0;
    load();
  }
  place_.next_row = (static_cast<uint64_t>(epoch) << kBatchBits) | (index + 1);
  const SpecAugmentOptions masks = {.frequency_masks = speech_.frequency_masks,
                                    .max_frequency_width = speech_.frequency_width,
                                    .time_masks = speech_.time_masks,
                                    .max_time_width = speech_.time_width};
  const StepKey key = {.seed = recipe_.run.seed, .step = step, .micro = micro};
  return MakeBatch(train_, batches_[index], ShapeOfBatches(), cmvn_, masks,
                   HashOfPass(key, RandomStream::kMasks), pool_);
}

StepResult SpeechTraining::AddGradients(const RunState& state) {
  std::vector<SpeechBatch> passes;
  for (int i = 0; i < stage_->stage.limits.accumulate; ++i) {
    passes.push_back(NextBatch(state.step, i));
  }
  const SpeechLosses losses =
      stage_->student.AddStep(passes, {.seed = recipe_.run.seed, .step = state.step});
  if (losses.infeasible > 0 && speech_.ctc > 0) {
    run_.journal.WarnOnce("an utterance has more units than positions; CTC leaves such out");
  }
  return {.tokens = losses.positions, .metrics = Describe(losses)};
}

RunMetrics SpeechTraining::Describe(const SpeechLosses& losses) const {
  const LossOptions& options = stage_->stage.loss;
  RunMetrics metrics = {.loss = losses.total};
  if (speech_.ctc > 0) metrics.more["ctc"] = losses.ctc;
  if (speech_.attention > 0) metrics.more["attention"] = losses.attention;
  if (speech_.transducer > 0) metrics.more["transducer"] = losses.transducer;
  const bool heads = speech_.ctc > 0 || speech_.attention > 0;
  if (options.vocab.kd > 0 && heads) metrics.kd = losses.kd;
  if (options.hidden > 0) metrics.more["hidden"] = losses.hidden;
  if (losses.infeasible > 0) metrics.more["infeasible"] = static_cast<double>(losses.infeasible);
  return metrics;
}

// With the average of the parameters if there is one.
SpeechModel SpeechTraining::Present() const {
  const at::Tensor& average = stage_->optimizer.average();
  const Params& params = stage_->params;
  return SplitWeights(model_,
                      (average.defined() ? params.ToModel(average) : params.ToModel()).weights);
}

// Error rates, decoded by the code that runs the model later.
Measurement SpeechTraining::MeasureTexts(const SpeechModel& model) {
  const Recognizer recognizer(model, std::nullopt, pool_);
  const bool translate = speech_.task == SpeechTask::kTranslate;
  SpeechEval eval;
  Measurement result;
  RunMetrics& metrics = result.metrics;
  for (const SpeechExample& example : valid_) {
    const Recognition r =
        recognizer.Recognize(example.speeds.front().values, {.translate = translate});
    const Utterance& u = example.utterance;
    eval.Add(recognizer.units().Normalize(translate ? u.translation : u.text), r.text);
    metrics.text = r.text;
  }
  metrics.more["word_error"] = eval.words.Rate();
  metrics.more["character_error"] = eval.characters.Rate();
  if (translate) metrics.more["bleu"] = Bleu(eval.references, eval.hypotheses);
  char line[160];
  std::snprintf(line, sizeof line,
                "word error %.2f %%, character error %.2f %%: ", 100 * eval.words.Rate(),
                100 * eval.characters.Rate());
  result.summary = line + metrics.text;
  return result;
}

// How far from the teacher's the encoder's output is.
Measurement SpeechTraining::MeasureDistance(const SpeechModel& model) {
  Params params = Params::Frozen(AsParameters(model));
  const SpeechStudent student(model, params, speech_, stage_->stage.compute, stage_->stage.loss,
                              &*teacher_);
  double sum = 0;
  for (int i = 0; i < static_cast<int>(valid_.size()); ++i) {
    sum += student.DistanceFromTeacher(
        MakeBatch(valid_, std::span(&i, 1), ShapeOfBatches(), cmvn_, kNoMasks, 0, pool_));
  }
  const double mean = sum / static_cast<double>(valid_.size());
  Measurement result;
  result.metrics.more["hidden"] = mean;
  char line[80];
  std::snprintf(line, sizeof line, "squared distance from the teacher %.4f", mean);
  result.summary = line;
  return result;
}

// How well the model reads, and where it has no texts to read, how far from its teacher it is.
Measurement SpeechTraining::Measure() {
  const SpeechModel model = Present();
  return Windows() ? MeasureDistance(model) : MeasureTexts(model);
}

CheckpointExtras SpeechTraining::Extras() {
  return {.write = [this](const Model& all, const std::string& directory) {
    SaveSpeechModel(SplitWeights(model_, all.weights), directory, DType::kF32);
  }};
}

void SpeechTraining::EndStage(Model trained) {
  model_ = SplitWeights(model_, trained.weights);
  stage_.reset();
}

}  // namespace

std::unique_ptr<TrainingTask> MakeSpeechTask(const RunContext& context) {
  return std::make_unique<SpeechTraining>(context);
}

}  // namespace rondo
