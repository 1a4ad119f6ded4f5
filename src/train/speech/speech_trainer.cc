#include "train/speech/speech_trainer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/hash.h"
#include "base/machine.h"
#include "rondo/error.h"
#include "rondo/recognizer.h"
#include "rondo/thread_pool.h"
#include "speech/features.h"
#include "speech/speech_eval.h"
#include "train/model/balance.h"
#include "train/recipe/resolved.h"
#include "train/recipe/speech_recipe.h"
#include "train/recipe/stage.h"
#include "train/run/interrupts.h"
#include "train/run/journal.h"
#include "train/run/run_state.h"
#include "train/run/step_guard.h"
#include "train/speech/speech_data.h"
#include "train/speech/speech_init.h"
#include "train/speech/speech_step.h"
#include "train/speech/speech_teacher.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// The sampler's place: an epoch, and batches of it that were used.
constexpr int kBatchBits = 32;

constexpr SpecAugmentOptions kNoMasks = {.frequency_masks = 0, .time_masks = 0};

std::vector<Utterance> SpreadOut(const std::vector<Utterance>& all, int limit) {
  const auto count =
      std::min<size_t>(all.size(), limit > 0 ? static_cast<size_t>(limit) : all.size());
  std::vector<Utterance> some;
  for (size_t i = 0; i < count; ++i) some.push_back(all[i * all.size() / count]);
  return some;
}

class SpeechRun {
 public:
  SpeechRun(const Recipe& recipe, const TrainOptions& options)
      : recipe_(recipe),
        speech_(*recipe.speech),
        options_(options),
        journal_(false, options.quiet),
        guard_(recipe.file, journal_),
        measuring_{recipe.valid.every_minutes, recipe.valid.every_steps},
        saving_{recipe.run.checkpoint_minutes, recipe.run.checkpoint_steps},
        pool_(recipe.run.threads) {}

  TrainResult Go();

 private:
  struct StageRun {
    Stage stage;
    Params params;
    Optimizer optimizer;
    SpeechStudent student;
    StageRun(Stage s, const SpeechModel& model, const SpeechSection& speech,
             const SpeechTeacher* teacher)
        : stage(std::move(s)),
          params(AsParameters(model), stage.groups),
          optimizer(params, stage.optimizer),
          student(model, params, speech, stage.compute, stage.loss, teacher) {}
  };

  uint64_t DataFingerprint() const;
  void LoadModels(std::span<const Utterance> texts);
  void LoadData(const SpeechSets& sets);
  GlobalCmvn Normalisation() const;
  bool BeginsAtRandom() const { return recipe_.model.empty(); }
  bool Windows() const { return model_.config.front.features == FeatureKind::kWhisper; }
  BatchShape ShapeOfBatches() const;
  void RunStage(const std::optional<FoundCheckpoint>& found);
  SpeechLosses Step(StageRun& run);
  SpeechBatch NextBatch(int micro);
  void Report(const StageRun& run, const SpeechLosses& losses, double norm, double lr,
              double seconds);
  SpeechModel Present(StageRun& run, bool averaged) const;
  RunMetrics MeasureTexts(const SpeechModel& model);
  RunMetrics MeasureDistance(const SpeechModel& model, const StageRun& run);
  void MeasureIfDue(StageRun& run, bool end);
  void CheckpointIfDue(StageRun& run, bool end);
  bool Stopped() const {
    return ended_ || (options_.stop_after > 0 && state_.step >= options_.stop_after);
  }
  std::string StepName() const { return "step " + std::to_string(state_.step) + ": "; }
  std::string Folder(const char* name) const { return (fs::path(recipe_.run.out) / name).string(); }

  const Recipe& recipe_;
  const SpeechSection& speech_;
  const TrainOptions& options_;
  Journal journal_;
  StepGuard guard_;
  Cadence measuring_, saving_;
  ThreadPool pool_;
  RunState state_;
  SpeechModel model_;  // at the beginning of the stage; its configuration all along
  std::vector<SpeechExample> train_, valid_;
  GlobalCmvn cmvn_;  // without bins where the model does not normalise
  std::optional<SpeechTeacher> teacher_;
  int64_t epoch_of_batches_ = -1;
  std::vector<std::vector<int>> batches_;
  bool ended_ = false;
};

// The model, without weights where they begin at random, and its teacher.
void SpeechRun::LoadModels(std::span<const Utterance> texts) {
  if (BeginsAtRandom()) {
    model_ = SpeechShapeOf(speech_, texts, Folder("units"), recipe_.file);
  } else {
    model_ = LoadSpeechModel(recipe_.model);
    CheckSpeechModelOf(recipe_, model_);
  }
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    ResolveSpeechStage(recipe_, i, model_.encoder.config);
  }
  if (recipe_.teacher.empty()) return;
  const SpeechModel teacher = LoadSpeechModel(recipe_.teacher);
  CheckSpeechTeacher(recipe_, model_, teacher);
  teacher_.emplace(teacher, ResolveSpeechStage(recipe_, 0, model_.encoder.config).compute);
}

void SpeechRun::LoadData(const SpeechSets& sets) {
  const std::vector<Utterance> valid = SpreadOut(sets.valid, speech_.valid_limit);
  const double as_it_is[] = {1.0};
  if (Windows()) {
    train_ = LoadWindows(model_, sets.train, speech_.speeds, options_.quiet);
    valid_ = LoadWindows(model_, valid, as_it_is, options_.quiet);
  } else {
    const std::shared_ptr<const SpeechUnits> units = LoadSpeechUnits(model_);
    const FbankOptions fbank = FbankOf(model_.config.front);
    train_ = LoadExamples(sets.train, fbank, speech_.speeds, units.get(), pool_, options_.quiet);
    valid_ = LoadExamples(valid, fbank, as_it_is, nullptr, pool_, options_.quiet);
  }
  if (train_.empty()) {
    throw Error({.function = "TrainSpeech",
                 .problem = Windows() ? "less speech than one window"
                                      : "no utterance is as long as a frame",
                 .expected = "audio to train on",
                 .file = speech_.train});
  }
  if (model_.config.front.normalize) cmvn_ = Normalisation();
  if (BeginsAtRandom()) InitSpeechWeights(recipe_.run.seed, cmvn_, model_);
  if (teacher_) CheckSameNormalisation(recipe_, cmvn_, teacher_->cmvn());
}

BatchShape SpeechRun::ShapeOfBatches() const {
  return {
      .batch_frames = speech_.batch_frames,
      .most_frames = int64_t{model_.encoder.config.max_positions} * model_.config.Subsampling()};
}

// Of what order, targets and shapes of batches follow from.
uint64_t SpeechRun::DataFingerprint() const {
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

// The model's own, or that of the data where it begins with them.
GlobalCmvn SpeechRun::Normalisation() const {
  if (!BeginsAtRandom()) return CmvnOf(model_);
  CmvnStatistics statistics;
  for (const SpeechExample& example : train_) {
    for (const Features& features : example.speeds) statistics.Add(features);
  }
  return GlobalCmvn(statistics, {});
}

TrainResult SpeechRun::Go() {
  at::set_num_threads(recipe_.run.threads > 0 ? recipe_.run.threads : AvailableCpus());
  CheckSpeechRecipe(recipe_);
  CheckResolved(recipe_);
  const SpeechSets sets = ReadSpeechSets(speech_, recipe_.file);
  LoadModels(sets.train);
  KeepResolved(recipe_);
  LoadData(sets);
  HandleInterrupts();  // until here there is nothing to keep, and a signal ends at once
  const Weights weights = JoinWeights(model_);
  for (size_t i = 0; i < recipe_.stages.size(); ++i) CheckPatterns(recipe_, i, weights);
  RemoveLeftovers(Folder("checkpoints"));
  std::optional<FoundCheckpoint> found;
  if (options_.resume) found = FindCheckpoint(Folder("checkpoints"));
  const uint64_t data = DataFingerprint();
  if (found) {
    state_ = found->state;
    if (state_.sampler.data != data) {
      throw Error({.function = "TrainSpeech",
                   .problem = "other utterances, texts or units than the run began with",
                   .expected = "the same, or another run.out",
                   .file = speech_.train});
    }
    measuring_.last = saving_.last = state_.seconds;
  }
  state_.sampler.data = data;
  journal_.Open(Folder("metrics.jsonl"), options_.resume, state_.step);
  while (state_.stage < static_cast<int>(recipe_.stages.size()) && !Stopped()) {
    RunStage(std::exchange(found, {}));
  }
  TrainResult result{.steps = state_.step, .tokens = state_.tokens, .seconds = state_.seconds};
  if (ended_) journal_.Warn("ended by a signal; --resume goes on from its checkpoint");
  if (Stopped()) return result;
  journal_.Sync();
  result.model = Folder("model");
  SaveSpeechModel(model_, result.model, recipe_.run.store);
  return result;
}

SpeechBatch SpeechRun::NextBatch(int micro) {
  uint64_t& place = state_.sampler.next_row;
  auto epoch = static_cast<int64_t>(place >> kBatchBits);
  uint64_t index = place & ((uint64_t{1} << kBatchBits) - 1);
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
  place = (static_cast<uint64_t>(epoch) << kBatchBits) | (index + 1);
  const SpecAugmentOptions masks = {.frequency_masks = speech_.frequency_masks,
                                    .max_frequency_width = speech_.frequency_width,
                                    .time_masks = speech_.time_masks,
                                    .max_time_width = speech_.time_width};
  const StepKey key = {.seed = recipe_.run.seed, .step = state_.step, .micro = micro};
  return MakeBatch(train_, batches_[index], ShapeOfBatches(), cmvn_, masks,
                   HashOfPass(key, Choice::kMasks), pool_);
}

SpeechLosses SpeechRun::Step(StageRun& run) {
  std::vector<SpeechBatch> passes;
  for (int i = 0; i < run.stage.limits.accumulate; ++i) passes.push_back(NextBatch(i));
  return run.student.AddStep(passes, {.seed = recipe_.run.seed, .step = state_.step});
}

void SpeechRun::Report(const StageRun& run, const SpeechLosses& losses, double norm, double lr,
                       double seconds) {
  RunMetrics metrics = {.step = state_.step,
                        .tokens = state_.tokens,
                        .seconds = state_.seconds,
                        .loss = losses.total,
                        .lr = lr,
                        .grad_norm = norm,
                        .tokens_per_s = static_cast<double>(losses.positions) / seconds,
                        .resident_bytes = ResidentMemoryBytes()};
  if (speech_.ctc > 0) metrics.more["ctc"] = losses.ctc;
  if (speech_.attention > 0) metrics.more["attention"] = losses.attention;
  if (speech_.transducer > 0) metrics.more["transducer"] = losses.transducer;
  const bool heads = speech_.ctc > 0 || speech_.attention > 0;
  if (run.stage.loss.vocab.kd > 0 && heads) metrics.kd = losses.kd;
  if (run.stage.loss.hidden > 0) metrics.more["hidden"] = losses.hidden;
  if (losses.infeasible > 0) metrics.more["infeasible"] = static_cast<double>(losses.infeasible);
  journal_.Write(metrics);
  if (losses.infeasible > 0 && speech_.ctc > 0) {
    journal_.WarnOnce("an utterance has more units than positions; CTC leaves such out");
  }
  if (state_.step % std::max<int64_t>(1, recipe_.run.log_steps) != 0) return;
  const StageOptions& limits = run.stage.limits;
  journal_.line().Show(
      run.stage.name,
      StageProgress(limits, state_.stage_step, state_.stage_tokens, state_.stage_seconds),
      state_.stage_seconds, metrics);
}

SpeechModel SpeechRun::Present(StageRun& run, bool averaged) const {
  const bool average = averaged && run.optimizer.average().defined();
  const Model all = average ? run.params.ToModel(run.optimizer.average()) : run.params.ToModel();
  return SplitWeights(model_, all.weights);
}

// Error rates, decoded by the code that runs the model later.
RunMetrics SpeechRun::MeasureTexts(const SpeechModel& model) {
  const Recognizer recognizer(model, std::nullopt, pool_);
  const bool translate = speech_.task == SpeechTask::kTranslate;
  SpeechEval result;
  RunMetrics metrics;
  for (const SpeechExample& example : valid_) {
    const Recognition r =
        recognizer.Recognize(example.speeds.front().values, {.translate = translate});
    const Utterance& u = example.utterance;
    result.Add(recognizer.units().Normalize(translate ? u.translation : u.text), r.text);
    metrics.text = r.text;
  }
  metrics.more["word_error"] = result.words.Rate();
  metrics.more["character_error"] = result.characters.Rate();
  if (translate) metrics.more["bleu"] = Bleu(result.references, result.hypotheses);
  char line[160];
  std::snprintf(line, sizeof line,
                "word error %.2f %%, character error %.2f %%: ", 100 * result.words.Rate(),
                100 * result.characters.Rate());
  journal_.line().ShowSample(StepName() + line + metrics.text);
  return metrics;
}

// How far from the teacher's the encoder's output is.
RunMetrics SpeechRun::MeasureDistance(const SpeechModel& model, const StageRun& run) {
  Params params = Params::Frozen(AsParameters(model));
  const SpeechStudent student(model, params, speech_, run.stage.compute, run.stage.loss,
                              &*teacher_);
  double sum = 0;
  for (int i = 0; i < static_cast<int>(valid_.size()); ++i) {
    sum += student.DistanceFromTeacher(
        MakeBatch(valid_, std::span(&i, 1), ShapeOfBatches(), cmvn_, kNoMasks, 0, pool_));
  }
  const double mean = sum / static_cast<double>(valid_.size());
  RunMetrics metrics;
  metrics.more["hidden"] = mean;
  char line[80];
  std::snprintf(line, sizeof line, "squared distance from the teacher %.4f", mean);
  journal_.line().ShowSample(StepName() + line);
  return metrics;
}

// The model as it would be saved now: how well it reads, and where it has no texts to read, how far
// from its teacher it is.
void SpeechRun::MeasureIfDue(StageRun& run, bool end) {
  if (valid_.empty() || (!end && !measuring_.Due(state_))) return;
  measuring_.last = state_.seconds;
  const SpeechModel model = Present(run, true);
  RunMetrics metrics = Windows() ? MeasureDistance(model, run) : MeasureTexts(model);
  metrics.step = state_.step;
  metrics.tokens = state_.tokens;
  metrics.seconds = state_.seconds;
  metrics.event = "valid";
  journal_.Write(metrics);
}

void SpeechRun::CheckpointIfDue(StageRun& run, bool end) {
  if (guard_.skipping() || (!end && !saving_.Due(state_))) return;
  saving_.last = state_.seconds;
  const auto write = [&](const Model& all, const std::string& directory) {
    SaveSpeechModel(SplitWeights(model_, all.weights), directory, DType::kF32);
  };
  try {
    journal_.Sync();
    SaveCheckpoint(Folder("checkpoints"), state_, run.params, run.optimizer.Collect(),
                   recipe_.run.keep, {.write = write});
  } catch (const std::exception& error) {
    journal_.Warn(std::string("checkpoint not written: ") + error.what());
    if (end) throw;
  }
}

void SpeechRun::RunStage(const std::optional<FoundCheckpoint>& found) {
  if (found) {
    model_ = SplitWeights(model_, JoinWeights(LoadSpeechModel(found->model)));
    CheckSpeechModel(model_);
  }
  Stage stage =
      ResolveSpeechStage(recipe_, static_cast<size_t>(state_.stage), model_.encoder.config);
  if (!found && stage.limits.balance) {
    BalanceFactors(model_.encoder, stage.groups, "encoder.");
  }
  const SpeechTeacher* teacher = stage.NeedsTeacher() ? &*teacher_ : nullptr;
  StageRun run(std::move(stage), model_, speech_, teacher);
  if (found) run.optimizer.Restore(LoadOptimizer(*found, run.params.flat().numel()));
  const StageOptions& limits = run.stage.limits;
  journal_.Write({.step = state_.step,
                  .tokens = state_.tokens,
                  .seconds = state_.seconds,
                  .event = found ? "resume" : "stage",
                  .text = run.stage.name});
  const auto progress = [&](int64_t step, int64_t tokens, double seconds) {
    return StageProgress(limits, state_.stage_step + step, state_.stage_tokens + tokens,
                         state_.stage_seconds + seconds);
  };
  while (progress(0, 0, 0) < 1 && !Stopped()) {
    const double start = RunningSeconds();
    const SpeechLosses losses = Step(run);
    const double norm = run.optimizer.GradNorm();
    const double lr =
        limits.lr * LrFactor(run.stage.lr, progress(1, losses.positions, RunningSeconds() - start));
    if (guard_.Usable(state_, losses.total, norm, limits.spike)) run.optimizer.Step(lr, norm);
    run.params.ZeroGrad();
    const double seconds = RunningSeconds() - start;
    ended_ = EndRequested();
    state_.Advance(losses.positions, seconds);
    Report(run, losses, norm, lr, seconds);
    const bool end = progress(0, 0, 0) >= 1;
    MeasureIfDue(run, end);
    CheckpointIfDue(run, end || ended_);
  }
  if (Stopped()) return;
  model_ = Present(run, true);
  state_.NextStage();
}

}  // namespace

TrainResult TrainSpeech(const Recipe& recipe, const TrainOptions& options) {
  return SpeechRun(recipe, options).Go();
}

}  // namespace rondo
