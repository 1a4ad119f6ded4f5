#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/byte_source.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/thread_pool.h"
#include "rondo/error.h"
#include "rondo/run_log.h"
#include "rondo/tokenizer.h"
#include "train/fading.h"
#include "train/init.h"
#include "train/progress_line.h"
#include "train/run_state.h"
#include "train/stage.h"
#include "train/validation.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// So many steps in a row without a usable gradient end the run.
constexpr int kMostSkipped = 10;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::shared_ptr<const TokenData> OpenData(const Recipe& recipe, const Tokenizer& tokenizer,
                                          bool quiet) {
  const DataSection& data = recipe.data;
  if (data.files.empty()) {
    throw Error({.function = "Train",
                 .problem = "no files",
                 .expected = "texts to train on",
                 .file = recipe.file,
                 .field = "data.files"});
  }
  ThreadPool pool(recipe.run.threads);
  CorpusOptions options{.files = data.files,
                        .unit = DocumentUnitFromName(data.unit),
                        .field = data.field,
                        .held_out = data.held_out};
  return OpenCorpus(options, tokenizer, data.cache, pool, quiet).train;
}

// One run from its beginning, or its last checkpoint, to its end.
class Run {
 public:
  Run(const Recipe& recipe, const TrainOptions& options)
      : recipe_(recipe), options_(options), line_(options.quiet) {}

  TrainResult Go();

 private:
  // What lives as long as a stage.
  struct StageRun {
    Stage stage;
    Params params;
    Optimizer optimizer;
    std::optional<FadingRest> fading;
    std::vector<int> fade_groups;
    std::unique_ptr<Student> student;
    StageRun(Stage s, const Model& model)
        : stage(std::move(s)), params(model, stage.groups), optimizer(params, stage.optimizer) {}
  };

  void Prepare();
  void CheckResolved() const;
  void OpenLog();
  void RunStage(std::optional<FoundCheckpoint> found);
  std::unique_ptr<StageRun> StartStage(const std::optional<FoundCheckpoint>& found);
  void StartFading(StageRun& run);
  StepValue Step(StageRun& run);
  bool Usable(const StageRun& run, const StepValue& value, double norm);
  void Report(const StageRun& run, const StepValue& value, double norm, double lr, double seconds);
  void MeasureIfDue(StageRun& run, bool end);
  double Measure(StageRun& run);
  double MeasureWith(const Teacher& model) const;
  void CheckpointIfDue(StageRun& run, bool end);
  bool Stopped() const { return options_.stop_after > 0 && state_.step >= options_.stop_after; }
  std::string Folder(const char* name) const { return (fs::path(recipe_.run.out) / name).string(); }
  std::string StageStart(int stage) const;

  const Recipe& recipe_;
  const TrainOptions& options_;
  ProgressLine line_;
  RunState state_;
  Model model_;  // at the beginning of the stage
  std::string tokenizer_path_;
  std::unique_ptr<Teacher> teacher_;
  std::unique_ptr<RowSampler> sampler_;
  std::vector<int32_t> valid_;
  std::unique_ptr<RunLog> log_;
  double last_valid_ = 0;                  // perplexity
  double measured_at_ = 0, saved_at_ = 0;  // seconds of training
  int skipped_ = 0;                        // steps in a row
};

// A run may only go on as it was begun.
void Run::CheckResolved() const {
  const std::string path = Folder("resolved.toml"), text = RecipeToToml(recipe_);
  if (!fs::exists(path)) {
    fs::create_directories(recipe_.run.out);
    AtomicFile file(path);
    file.Write(text);
    return file.Commit();
  }
  const std::string before = ReadTextFile(path);
  if (before == text) return;
  const auto at = std::ranges::mismatch(before, text).in1 - before.begin();
  const size_t begin = before.rfind('\n', static_cast<size_t>(at)) + 1;
  throw Error({.function = "Train",
               .problem = "the folder holds a run of another recipe, which has '" +
                          before.substr(begin, before.find('\n', begin) - begin) + "'",
               .expected = "the same recipe, or another run.out",
               .file = path});
}

std::string Run::StageStart(int stage) const {
  if (stage == 0 && !recipe_.init) return recipe_.model;
  return Folder(("stage-" + std::to_string(stage) + "-start").c_str());
}

void Run::Prepare() {
  if (recipe_.run.out.empty()) {
    throw Error({.function = "Train",
                 .problem = "no folder",
                 .expected = "where the run is kept",
                 .file = recipe_.file,
                 .field = "run.out"});
  }
  model_ = StartingModel(recipe_);
  tokenizer_path_ = model_.path;
  bool needs_teacher = false;
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    needs_teacher = ResolveStage(recipe_, i, model_.config).NeedsTeacher() || needs_teacher;
  }
  CheckResolved();
  const auto tokenizer = LoadTokenizer(tokenizer_path_);
  sampler_ = std::make_unique<RowSampler>(OpenData(recipe_, *tokenizer, options_.quiet),
                                          SamplerOptions{.length = recipe_.data.length,
                                                         .rows = RowKindFromName(recipe_.data.rows),
                                                         .seed = recipe_.run.seed});
  if (!recipe_.valid.text.empty()) {
    // As `rondo eval` reads it: text is data, and control tokens in it are not.
    valid_ = tokenizer->Encode(ReadPackedText(recipe_.valid.text),
                               {.add_special = true, .parse_special = false});
  }
  if (!needs_teacher) return;
  const Model teacher = LoadModel(recipe_.teacher);
  if (teacher.config.vocab != model_.config.vocab) {
    throw Error({.function = "Train",
                 .problem = "a vocabulary of " + std::to_string(teacher.config.vocab),
                 .expected = "the model's, " + std::to_string(model_.config.vocab),
                 .file = recipe_.file,
                 .field = "teacher"});
  }
  teacher_ = std::make_unique<Teacher>(teacher, recipe_.data.length);
}

void Run::OpenLog() {
  const std::string path = Folder("metrics.jsonl");
  const bool fresh = !options_.resume;
  log_ = std::make_unique<RunLog>(fresh ? RunLog::Start(path) : RunLog::Resume(path, state_.step));
}

TrainResult Run::Go() {
  at::set_num_threads(recipe_.run.threads > 0 ? recipe_.run.threads : AvailableCpus());
  Prepare();
  std::optional<FoundCheckpoint> found;
  if (options_.resume) found = FindCheckpoint(Folder("checkpoints"));
  if (found) {
    state_ = found->state;
    sampler_->Restore(state_.sampler);
    measured_at_ = saved_at_ = state_.seconds;
  }
  OpenLog();
  while (state_.stage < static_cast<int>(recipe_.stages.size()) && !Stopped()) {
    RunStage(std::exchange(found, {}));
  }
  TrainResult result{.steps = state_.step,
                     .tokens = state_.tokens,
                     .seconds = state_.seconds,
                     .valid_perplexity = last_valid_};
  if (Stopped()) return result;
  result.model = Folder("model");
  SaveModel(model_, result.model, DTypeFromName(recipe_.run.store));
  return result;
}

void Run::StartFading(StageRun& run) {
  if (run.stage.fade.kind == FadeKind::kNone) return;
  const std::string start = StageStart(state_.stage);
  run.fading = MakeFadingRest(LoadModel(start), *teacher_);
  run.fade_groups = TiedGroups(model_.plan);
}

std::unique_ptr<Run::StageRun> Run::StartStage(const std::optional<FoundCheckpoint>& found) {
  if (found) {
    model_ = LoadModel(found->model);
    model_.path = tokenizer_path_;  // this checkpoint will make room for newer ones
  }
  const auto index = static_cast<size_t>(state_.stage);
  auto run = std::make_unique<StageRun>(ResolveStage(recipe_, index, model_.config), model_);
  if (found) {
    LoadOptimizer(*found, run->optimizer);
  } else if (StageStart(state_.stage) != recipe_.model && run->stage.fade.kind != FadeKind::kNone) {
    SaveModel(model_, StageStart(state_.stage), DType::kF32);
  }
  StartFading(*run);
  run->student = std::make_unique<Student>(
      run->params, model_.config, model_.plan, recipe_.data.length, run->stage.compute,
      run->stage.checkpoint, run->fading ? &*run->fading : nullptr);
  model_.weights = {};  // the parameters hold them now
  return run;
}

StepValue Run::Step(StageRun& run) {
  const StageOptions& limits = run.stage.limits;
  StepValue value;
  for (int i = 0; i < limits.accumulate; ++i) {
    const TokenBatch batch = sampler_->Next(limits.batch);
    const double share = 1.0 / limits.accumulate;
    value.Add(run.stage.kind == StageKind::kAlign
                  ? run.student->AddAlignmentGradients(batch, *teacher_, run.stage.loss, share)
                  : run.student->AddGradients(batch, teacher_.get(), run.stage.loss, share),
              share);
  }
  return value;
}

// Whether an update may use this step's gradients; ends the run when too many may not.
bool Run::Usable(const StageRun& run, const StepValue& value, double norm) {
  const double spike = run.stage.limits.spike;
  const bool finite = std::isfinite(value.loss) && std::isfinite(norm);
  const bool spiked = spike > 0 && state_.loss_mean > 0 && value.loss > spike * state_.loss_mean;
  if (finite && !spiked) {
    const double mean = state_.loss_mean;
    state_.loss_mean = mean == 0 ? value.loss : 0.95 * mean + 0.05 * value.loss;
    skipped_ = 0;
    return true;
  }
  ++skipped_;
  log_->Append({.step = state_.step + 1,
                .tokens = state_.tokens,
                .seconds = state_.seconds,
                .loss = value.loss,
                .grad_norm = norm,
                .event = "spike",
                .text = finite ? "loss far above its mean; step left out"
                               : "loss or gradient is not finite; step left out"});
  if (skipped_ < kMostSkipped) return false;
  throw Error({.function = "Train",
               .problem = std::to_string(skipped_) +
                          " steps in a row without a usable gradient "
                          "(loss " +
                          std::to_string(value.loss) + " at step " +
                          std::to_string(state_.step + 1) + ")",
               .expected = "a finite loss; the last checkpoint is whole: a lower lr may help",
               .file = recipe_.file,
               .field = "stages." + std::to_string(state_.stage)});
}

void Run::Report(const StageRun& run, const StepValue& value, double norm, double lr,
                 double seconds) {
  const StageOptions& limits = run.stage.limits;
  const auto tokens = static_cast<double>(limits.batch) * limits.accumulate * recipe_.data.length;
  RunMetrics metrics = {.step = state_.step,
                        .tokens = state_.tokens,
                        .seconds = state_.seconds,
                        .loss = value.loss,
                        .ce = value.ce,
                        .kd = value.kd,
                        .lr = lr,
                        .grad_norm = norm,
                        .tokens_per_s = tokens / seconds,
                        .resident_bytes = ResidentMemoryBytes()};
  if (run.stage.kind == StageKind::kAlign) metrics.ce = metrics.kd = std::nullopt;
  if (value.hidden != 0) metrics.more["hidden"] = value.hidden;
  if (run.fading) metrics.more["fading"] = run.fading->weight.front();
  for (size_t i = 0; i < value.exit_ce.size(); ++i) {
    metrics.more["exit_ce_" + std::to_string(i + 1)] = value.exit_ce[i];
  }
  log_->Append(metrics);
  if (state_.step % std::max<int64_t>(1, recipe_.run.log_steps) != 0) return;
  line_.Show(run.stage.name,
             StageProgress(limits, state_.stage_step, state_.stage_tokens, state_.stage_seconds),
             state_.stage_seconds, metrics);
}

double Run::MeasureWith(const Teacher& model) const {
  return MeasurePerplexity(
             model, valid_,
             {.context = recipe_.valid.context, .max_tokens = recipe_.valid.max_tokens})
      .perplexity;
}

double Run::Measure(StageRun& run) {
  RunMetrics metrics = {
      .step = state_.step, .tokens = state_.tokens, .seconds = state_.seconds, .event = "valid"};
  // What would be saved now: without the rest that fades, with the average if there is one.
  const bool averaged = run.optimizer.average.defined();
  if (averaged) run.optimizer.SwapAverage();
  const double perplexity = MeasureWith(run.student->Snapshot(recipe_.valid.context, false));
  if (averaged) run.optimizer.SwapAverage();
  metrics.valid_perplexity = perplexity;
  if (run.fading && std::ranges::any_of(run.fading->weight, [](double w) { return w != 0; })) {
    metrics.more["valid_perplexity_fading"] =
        MeasureWith(run.student->Snapshot(recipe_.valid.context, true));
  }
  log_->Append(metrics);
  line_.ShowValidation(metrics);
  return perplexity;
}

void Run::MeasureIfDue(StageRun& run, bool end) {
  if (valid_.empty()) return;
  const double minutes = recipe_.valid.every_minutes;
  const int64_t steps = recipe_.valid.every_steps;
  const bool due = end || (minutes > 0 && state_.seconds - measured_at_ >= 60 * minutes) ||
                   (steps > 0 && state_.step % steps == 0);
  if (!due) return;
  last_valid_ = Measure(run);
  measured_at_ = state_.seconds;
}

// A checkpoint that cannot be written leaves the older ones; the run goes on and tries again. While
// steps are being skipped the parameters may be spoilt already, and older checkpoints must stay.
void Run::CheckpointIfDue(StageRun& run, bool end) {
  const double minutes = recipe_.run.checkpoint_minutes;
  const int64_t steps = recipe_.run.checkpoint_steps;
  const bool due = end || (minutes > 0 && state_.seconds - saved_at_ >= 60 * minutes) ||
                   (steps > 0 && state_.step % steps == 0);
  if (!due || skipped_ > 0) return;
  saved_at_ = state_.seconds;
  state_.sampler = sampler_->state();
  try {
    log_->Sync();
    SaveCheckpoint(Folder("checkpoints"), state_, run.params, run.optimizer, recipe_.run.keep);
  } catch (const std::exception& error) {
    line_.Warn(std::string("checkpoint not written: ") + error.what());
    if (end) throw;
  }
}

void Run::RunStage(std::optional<FoundCheckpoint> found) {
  const bool resumed = found.has_value();
  const auto run = StartStage(found);
  const StageOptions& limits = run->stage.limits;
  log_->Append({.step = state_.step,
                .tokens = state_.tokens,
                .seconds = state_.seconds,
                .event = resumed ? "resume" : "stage",
                .text = run->stage.name});
  const auto progress = [&](int64_t step, int64_t tokens, double seconds) {
    return StageProgress(limits, state_.stage_step + step, state_.stage_tokens + tokens,
                         state_.stage_seconds + seconds);
  };
  if (!resumed) MeasureIfDue(*run, state_.step == 0 || run->fading.has_value());
  const int64_t step_tokens = int64_t{limits.batch} * limits.accumulate * recipe_.data.length;
  while (progress(0, 0, 0) < 1 && !Stopped()) {
    const auto start = Clock::now();
    if (run->fading) {
      run->fading->weight = FadeWeights(run->stage.fade, run->fade_groups, progress(0, 0, 0));
    }
    const StepValue value = Step(*run);
    const double norm = run->optimizer.GradNorm();
    const double lr =
        limits.lr * LrFactor(run->stage.lr, progress(1, step_tokens, SecondsSince(start)));
    if (Usable(*run, value, norm)) run->optimizer.Step(lr, norm);
    run->params.ZeroGrad();
    const double seconds = SecondsSince(start);
    ++state_.step;
    ++state_.stage_step;
    state_.tokens += step_tokens;
    state_.stage_tokens += step_tokens;
    state_.seconds += seconds;
    state_.stage_seconds += seconds;
    Report(*run, value, norm, lr, seconds);
    const bool end = progress(0, 0, 0) >= 1;
    if (end && run->fading) run->fading->weight.assign(run->fading->weight.size(), 0.0);
    MeasureIfDue(*run, end);
    CheckpointIfDue(*run, end);
  }
  if (Stopped()) return;
  model_ = run->optimizer.average.defined() ? run->params.ToModel(run->optimizer.average)
                                            : run->params.ToModel();
  ++state_.stage;
  state_.stage_step = state_.stage_tokens = 0;
  state_.stage_seconds = 0;
  state_.loss_mean = 0;
}

}  // namespace

TrainResult Train(const Recipe& recipe, const TrainOptions& options) {
  return Run(recipe, options).Go();
}

}  // namespace rondo
