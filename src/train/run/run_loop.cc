#include "train/run/run_loop.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/machine.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "train/recipe/resolved.h"
#include "train/run/interrupts.h"
#include "train/run/provenance.h"
#include "train/run/step_guard.h"
#include "train/run/task.h"

namespace rondo {
namespace {

// One run from its beginning, or its last checkpoint, to its end.
class RunLoop {
 public:
  RunLoop(const Recipe& recipe, const TrainOptions& options, const MakeTask& make)
      : recipe_(recipe),
        options_(options),
        ranks_(Ranks::FromEnvironment()),
        journal_(!ranks_.first(), options.quiet),
        guard_(recipe.file, journal_),
        measuring_{recipe.valid.every_minutes, recipe.valid.every_steps},
        saving_{recipe.run.checkpoint_minutes, recipe.run.checkpoint_steps},
        context_{recipe, ranks_, journal_, options.quiet},
        task_(make(context_)) {}

  TrainResult Go();

 private:
  void CheckFolder() const;
  std::optional<FoundCheckpoint> FindStart();
  void OpenJournal();
  TrainResult Finish();
  void RunStage(const std::optional<FoundCheckpoint>& found);
  StageRun& BeginStage(const std::optional<FoundCheckpoint>& found);
  void Step(StageRun& stage);
  void AgreeOverRanks(double& seconds);
  void Report(const StageRun& stage, RunMetrics metrics);
  void MeasureIfDue(bool due);
  void Write(Measurement measured);
  void CheckpointIfDue(StageRun& stage, bool due);
  void EndStage(StageRun& stage);
  bool Stopped() const {
    return ended_ || (options_.stop_after > 0 && state_.step >= options_.stop_after);
  }
  // Where the run stands, as lines of the log have it.
  RunMetrics Now() const {
    return {.step = state_.step, .tokens = state_.tokens, .seconds = state_.seconds};
  }
  std::string Path(const char* name) const { return RunPath(recipe_, name); }

  const Recipe& recipe_;
  const TrainOptions& options_;
  Ranks ranks_;
  Journal journal_;
  StepGuard guard_;
  Cadence measuring_, saving_;
  RunState state_;
  bool ended_ = false;     // by a signal to any rank
  double last_valid_ = 0;  // perplexity
  RunContext context_;
  std::unique_ptr<TrainingTask> task_;
};

void RunLoop::CheckFolder() const {
  CheckRunSection(recipe_);
  CheckResolved(recipe_);
  if (options_.resume || !PathExists(Path("metrics.jsonl"))) return;
  throw Error({.function = "Train",
               .problem = "the folder holds this run already",
               .expected = "--resume, which goes on with it, or another run.out",
               .file = Path("metrics.jsonl")});
}

std::optional<FoundCheckpoint> RunLoop::FindStart() {
  std::optional<FoundCheckpoint> found;
  if (options_.resume) found = FindCheckpoint(Path("checkpoints"));
  if (!found) return found;
  task_->Restore(found->state.sampler);
  state_ = found->state;
  measuring_.last = saving_.last = state_.seconds;
  return found;
}

void RunLoop::OpenJournal() {
  journal_.Open(Path("metrics.jsonl"), options_.resume, state_.step);
  if (!ranks_.first()) return;
  const Provenance provenance = ProvenanceOf(ranks_);
  RunMetrics record = Now();
  AddTo(record, provenance);
  journal_.Write(record);
  AddRunStart(Path("run.json"), state_.step, provenance);
}

TrainResult RunLoop::Go() {
  at::set_num_threads(recipe_.run.threads > 0
                          ? recipe_.run.threads
                          : std::max(1, AvailableCpus() / ranks_.on_this_machine()));
  CheckFolder();
  task_->Prepare();
  HandleInterrupts();  // until here there is nothing to keep, and a signal ends at once
  if (ranks_.first()) {
    KeepResolved(recipe_);
    RemoveLeftovers(Path("checkpoints"));
  }
  std::optional<FoundCheckpoint> found = FindStart();
  OpenJournal();
  while (state_.stage < static_cast<int>(recipe_.stages.size()) && !Stopped()) {
    RunStage(std::exchange(found, {}));
  }
  return Finish();
}

TrainResult RunLoop::Finish() {
  TrainResult result{.steps = state_.step,
                     .tokens = state_.tokens,
                     .seconds = state_.seconds,
                     .valid_perplexity = last_valid_};
  if (ended_) journal_.Warn("ended by a signal; --resume goes on from its checkpoint");
  if (Stopped()) return result;
  journal_.Sync();
  result.model = Path("model");
  if (!ranks_.first()) return result;
  task_->Save(result.model, recipe_.run.store);
  const std::string rounded = Path("model.gguf");
  if (task_->SaveRounded(rounded, recipe_.run.store)) {
    result.rounded = rounded;
    journal_.line().Say("measured was " + rounded + "; " + result.model +
                        " holds the weights before rounding");
  }
  return result;
}

StageRun& RunLoop::BeginStage(const std::optional<FoundCheckpoint>& found) {
  StageRun& stage = task_->BeginStage(state_, found ? &*found : nullptr);
  if (found) {
    LoadCopies(*found, stage.params);
    stage.optimizer.Restore(LoadOptimizer(*found, stage.params.flat().numel()));
  }
  RunMetrics begun = Now();
  begun.event = found ? "resume" : "stage";
  begun.text = stage.stage.name;
  journal_.Write(begun);
  if (found) return stage;
  MeasureIfDue(task_->MeasuresStart(state_));
  task_->BetweenSteps(state_, false);
  return stage;
}

void RunLoop::RunStage(const std::optional<FoundCheckpoint>& found) {
  StageRun& stage = BeginStage(found);
  while (stage.Progress(state_) < 1 && !Stopped()) {
    Step(stage);
    bool end = stage.Progress(state_) >= 1;
    task_->BetweenSteps(state_, end);
    // What happened between the steps may have taken the time that was left.
    if (!end && stage.Progress(state_) >= 1) task_->BetweenSteps(state_, end = true);
    MeasureIfDue(end || measuring_.Due(state_));
    CheckpointIfDue(stage, end || ended_ || saving_.Due(state_));
  }
  if (!Stopped()) EndStage(stage);
}

void RunLoop::Step(StageRun& stage) {
  const double start = RunningSeconds();
  StepResult result = task_->AddGradients(state_);
  double seconds = RunningSeconds() - start;
  AgreeOverRanks(seconds);
  const double loss = *result.metrics.loss, norm = stage.optimizer.GradNorm();
  RunState after = state_;
  after.Advance(result.tokens, seconds);
  const double lr = stage.stage.limits.lr * LrFactor(stage.stage.lr, stage.Progress(after));
  if (guard_.Usable(state_, loss, norm, stage.stage.limits.spike)) stage.optimizer.Step(lr, norm);
  stage.params.ZeroGrad();
  seconds = RunningSeconds() - start;
  ranks_.FromFirst(seconds);
  state_.Advance(result.tokens, seconds);
  result.metrics.lr = lr;
  result.metrics.grad_norm = norm;
  result.metrics.tokens_per_s = static_cast<double>(result.tokens) / seconds;
  Report(stage, std::move(result.metrics));
}

// All learn of a signal, and of the time by the first one's clock.
void RunLoop::AgreeOverRanks(double& seconds) {
  double all[] = {ranks_.first() ? seconds : 0.0, EndRequested() ? 1.0 : 0.0};
  ranks_.Sum(all);
  seconds = all[0];
  ended_ = all[1] > 0;
}

void RunLoop::Report(const StageRun& stage, RunMetrics metrics) {
  metrics.step = state_.step;
  metrics.tokens = state_.tokens;
  metrics.seconds = state_.seconds;
  metrics.resident_bytes = ResidentMemoryBytes();
  journal_.Write(metrics);
  if (state_.step % std::max<int64_t>(1, recipe_.run.log_steps) != 0) return;
  journal_.line().Show(stage.stage.name, stage.Progress(state_), state_.stage_seconds, metrics);
}

// A model that diverged cannot always be measured. The run goes on to the steps that say what is
// wrong with it.
void RunLoop::MeasureIfDue(bool due) {
  if (!due || !ranks_.first() || !task_->CanMeasure()) return;
  measuring_.last = state_.seconds;
  try {
    Write(task_->Measure());
  } catch (const std::exception& error) {
    if (state_.step == 0) throw;  // nothing was trained: it will never work
    journal_.Warn("not measured at step " + std::to_string(state_.step) + ": " + error.what());
  }
}

void RunLoop::Write(Measurement measured) {
  RunMetrics& metrics = measured.metrics;
  metrics.step = state_.step;
  metrics.tokens = state_.tokens;
  metrics.seconds = state_.seconds;
  metrics.event = "valid";
  last_valid_ = metrics.valid_perplexity.value_or(0);
  journal_.Write(metrics);
  journal_.line().ShowMeasurement(metrics, measured.summary);
  for (std::string& text : measured.samples) {
    journal_.line().ShowSample(text);
    RunMetrics sample = Now();
    sample.event = "sample";
    sample.text = std::move(text);
    journal_.Write(sample);
  }
}

// A checkpoint that cannot be written leaves the older ones; the run goes on and tries again. While
// steps are left out the parameters may be spoilt already, and older checkpoints must stay.
void RunLoop::CheckpointIfDue(StageRun& stage, bool due) {
  if (!due || guard_.skipping()) return;
  saving_.last = state_.seconds;
  state_.sampler = task_->Place();
  const OptimizerState optimizer = stage.optimizer.Collect();
  if (!ranks_.first()) return;
  try {
    journal_.Sync();
    SaveCheckpoint(Path("checkpoints"), state_, stage.params, optimizer, recipe_.run.keep,
                   task_->Extras());
  } catch (const std::exception& error) {
    journal_.Warn(std::string("checkpoint not written: ") + error.what());
    if (ended_ || stage.Progress(state_) >= 1) throw;
  }
}

void RunLoop::EndStage(StageRun& stage) {
  const at::Tensor& average = stage.optimizer.average();
  guard_.CheckEnd(state_, average.defined() ? average : stage.params.flat());
  task_->EndStage(average.defined() ? stage.params.ToModel(average) : stage.params.ToModel());
  state_.NextStage();
}

}  // namespace

TrainResult RunTask(const Recipe& recipe, const TrainOptions& options, const MakeTask& make) {
  return RunLoop(recipe, options, make).Go();
}

}  // namespace rondo
