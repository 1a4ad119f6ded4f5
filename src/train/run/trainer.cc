#include "train/run/trainer.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/byte_source.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/run_log.h"
#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/ffn_width.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"
#include "train/loss/gate_loss.h"
#include "train/model/balance.h"
#include "train/recipe/resolved.h"
#include "train/recipe/stage.h"
#include "train/run/device.h"
#include "train/run/init.h"
#include "train/run/interrupts.h"
#include "train/run/journal.h"
#include "train/run/ranks.h"
#include "train/run/run_state.h"
#include "train/run/samples.h"
#include "train/run/stage_run.h"
#include "train/run/step_guard.h"
#include "train/run/validation.h"
#include "train/speech/speech_trainer.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

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
  CorpusOptions options{
      .files = data.files, .unit = data.unit, .field = data.field, .held_out = data.held_out};
  return OpenCorpus(options, tokenizer, data.cache, pool, quiet).train;
}

// One run from its beginning, or its last checkpoint, to its end.
class Run {
 public:
  Run(const Recipe& recipe, const TrainOptions& options)
      : recipe_(recipe),
        options_(options),
        ranks_(Ranks::FromEnvironment()),
        journal_(!ranks_.first(), options.quiet),
        guard_(recipe.file, journal_),
        measuring_{recipe.valid.every_minutes, recipe.valid.every_steps},
        saving_{recipe.run.checkpoint_minutes, recipe.run.checkpoint_steps} {}

  TrainResult Go();

 private:
  void Prepare();
  void RunStage(std::optional<FoundCheckpoint> found);
  std::unique_ptr<StageRun> StartStage(const std::optional<FoundCheckpoint>& found);
  void StartFading(StageRun& run);
  void CheckBatch(size_t stage) const;
  void DecideTies(StageRun& run, bool end);
  void CloseAndDecide(StageRun& run, bool end);
  StepValue Step(StageRun& run);
  StepValue OverRanks(StepValue value, double& seconds);
  void Report(const StageRun& run, const StepValue& value, double norm, double lr, double seconds);
  void MeasureIfDue(StageRun& run, bool end);
  double Measure(StageRun& run);
  double MeasureWith(const Teacher& model) const;
  void CheckpointIfDue(StageRun& run, bool end);
  bool Stopped() const {
    return ended_ || (options_.stop_after > 0 && state_.step >= options_.stop_after);
  }
  std::string Folder(const char* name) const { return (fs::path(recipe_.run.out) / name).string(); }
  std::string StageStart(int stage) const;

  const Recipe& recipe_;
  const TrainOptions& options_;
  Ranks ranks_;
  at::Device device_ = at::kCPU;
  Journal journal_;
  StepGuard guard_;
  Cadence measuring_, saving_;
  RunState state_;
  Model model_;  // at the beginning of the stage
  std::string tokenizer_path_;
  std::unique_ptr<Teacher> teacher_;
  std::unique_ptr<TeacherCache> cache_;
  std::unique_ptr<Tying> tying_;
  std::unique_ptr<RowSampler> sampler_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> valid_;
  bool ended_ = false;     // by a signal to any rank
  double last_valid_ = 0;  // perplexity
};

std::string Run::StageStart(int stage) const {
  if (stage == 0 && !recipe_.init) return recipe_.model;
  return Folder(("stage-" + std::to_string(stage) + "-start").c_str());
}

void Run::Prepare() {
  CheckRunSection(recipe_);
  CheckResolved(recipe_);
  device_ = FindDevice(recipe_.run.device, {recipe_.file, "run"});
  model_ = StartingModel(recipe_);
  CheckLength(recipe_, model_.config, "model");
  tokenizer_path_ = model_.path;
  const int tied = TiedStage(recipe_);
  bool needs_teacher = false, in_bf16 = true;
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    const Stage stage = ResolveStage(recipe_, i, model_.config);
    CheckPlan(recipe_, i, stage, model_);
    CheckBatch(i);
    // What residuals there are behind ties is not known yet.
    if (tied < 0 || static_cast<int>(i) < tied) CheckPatterns(recipe_, i, model_.weights);
    needs_teacher = stage.NeedsTeacher() || needs_teacher;
    in_bf16 = in_bf16 && (!stage.NeedsTeacher() || stage.compute == ComputeType::kBf16);
  }
  if (tied >= 0) {
    CheckTyingRanks(recipe_, ranks_.size());
    tying_ = std::make_unique<Tying>(recipe_, model_);
  }
  // The first rank makes what is missing, and the others find it.
  if (!ranks_.first()) ranks_.Wait();
  tokenizer_ = LoadTokenizer(tokenizer_path_);
  sampler_ = std::make_unique<RowSampler>(
      OpenData(recipe_, *tokenizer_, options_.quiet),
      SamplerOptions{
          .length = recipe_.data.length, .rows = recipe_.data.rows, .seed = recipe_.run.seed});
  if (ranks_.first()) ranks_.Wait();
  if (!recipe_.valid.text.empty()) {
    // As `rondo eval` reads it: text is data, and control tokens in it are not.
    valid_ = tokenizer_->Encode(ReadPackedText(recipe_.valid.text),
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
  CheckTeacher(recipe_, model_.config, teacher.config);
  teacher_ = std::make_unique<Teacher>(teacher, recipe_.data.length,
                                       in_bf16 ? ComputeType::kBf16 : ComputeType::kF32, device_);
  if (recipe_.teacher_cache.empty()) return;
  cache_ = std::make_unique<TeacherCache>(recipe_.teacher_cache, *teacher_,
                                          std::min(recipe_.teacher_top_k, teacher.config.vocab),
                                          recipe_.data.length);
}

TrainResult Run::Go() {
  HandleInterrupts();
  at::set_num_threads(recipe_.run.threads > 0
                          ? recipe_.run.threads
                          : std::max(1, AvailableCpus() / ranks_.on_this_machine()));
  Prepare();
  if (ranks_.first()) {
    KeepResolved(recipe_);
    RemoveLeftovers(Folder("checkpoints"));
  }
  std::optional<FoundCheckpoint> found;
  if (options_.resume) found = FindCheckpoint(Folder("checkpoints"));
  if (found) {
    state_ = found->state;
    sampler_->Restore(state_.sampler);
    measuring_.last = saving_.last = state_.seconds;
  }
  journal_.Open(Folder("metrics.jsonl"), options_.resume, state_.step);
  while (state_.stage < static_cast<int>(recipe_.stages.size()) && !Stopped()) {
    RunStage(std::exchange(found, {}));
  }
  TrainResult result{.steps = state_.step,
                     .tokens = state_.tokens,
                     .seconds = state_.seconds,
                     .valid_perplexity = last_valid_};
  if (ended_) journal_.Warn("ended by a signal; --resume goes on from its checkpoint");
  if (Stopped()) return result;
  journal_.Sync();
  result.model = Folder("model");
  if (ranks_.first()) SaveModel(model_, result.model, recipe_.run.store);
  return result;
}

void Run::StartFading(StageRun& run) {
  if (run.stage.fade.kind == FadeKind::kNone) return;
  const std::string start = StageStart(state_.stage);
  run.fading.emplace(MakeFadingRest(LoadModel(start), *teacher_), run.stage.fade_by);
  run.fade_groups = TiedGroups(model_.plan);
}

std::unique_ptr<StageRun> Run::StartStage(const std::optional<FoundCheckpoint>& found) {
  if (found) {
    model_ = LoadModel(found->model);
    model_.path = tokenizer_path_;  // this checkpoint will make room for newer ones
  }
  const auto index = static_cast<size_t>(state_.stage);
  Stage stage = ResolveStage(recipe_, index, model_.config);
  if (stage.loss.gate != 0) AddExitGate(model_);
  if (!found && StageStart(state_.stage) != recipe_.model && stage.fade.kind != FadeKind::kNone) {
    if (ranks_.first()) SaveModel(model_, StageStart(state_.stage), DType::kF32);
    ranks_.Wait();
  }
  if (!found && stage.limits.balance) BalanceFactors(model_, stage.groups);
  Tying* tying = TiedStage(recipe_) == state_.stage ? tying_.get() : nullptr;
  if (tying == nullptr) CheckPatterns(recipe_, index, model_.weights);
  if (found && tying != nullptr) LoadTies(*found, *tying);
  auto run = std::make_unique<StageRun>(std::move(stage), model_, recipe_.run.seed, device_, ranks_,
                                        tying);
  if (found) {
    LoadCopies(*found, run->params);
    run->optimizer.Restore(LoadOptimizer(*found, run->params.flat().numel()));
  } else if (tying != nullptr) {
    run->Retie(tying->Untied());
  }
  StartFading(*run);
  run->MakeStudent(recipe_.data.length, cache_.get());
  model_.weights = {};  // the parameters hold them now
  return run;
}

// Closes the open decision with its reward and makes the next one, as far as they are due. What
// that takes is the run's time.
void Run::DecideTies(StageRun& run, bool end) {
  const double start = RunningSeconds();
  CloseAndDecide(run, end);
  const double seconds = RunningSeconds() - start;
  state_.seconds += seconds;
  state_.stage_seconds += seconds;
}

void Run::CloseAndDecide(StageRun& run, bool end) {
  Tying& tying = *run.tying;
  const StageOptions& limits = run.stage.limits;
  const double progress =
      StageProgress(limits, state_.stage_step, state_.stage_tokens, state_.stage_seconds);
  const auto log = [&](RunMetrics metrics) {
    metrics.step = state_.step;
    metrics.tokens = state_.tokens;
    metrics.seconds = state_.seconds;
    journal_.Write(metrics);
  };
  const auto probe = [&] {
    return run.student->CrossEntropy(sampler_->Next(limits.batch), run.stage.loss);
  };
  if (!end && !tying.Due(state_.stage_step, progress)) return;
  Ties before = tying.ties();
  const auto follow = [&] {
    if (tying.ties().state == before.state) return;  // the plan follows from it
    run.Retie(before);
    run.MakeStudent(recipe_.data.length, cache_.get());
    before = tying.ties();
    state_.loss_mean = 0;  // another model: its losses are no spikes of the one before
  };
  if (const TieProbeStart* open = tying.open()) {
    const SamplerState now = sampler_->state();
    if (tying.WantsProbe()) sampler_->Restore(open->sampler);
    const double cross_entropy = probe();
    if (tying.WantsProbe()) sampler_->Restore(now);
    log(tying.Close(cross_entropy));
    follow();
  }
  if (end || !tying.Due(state_.stage_step, progress)) return;
  TieProbeStart start{.sampler = sampler_->state()};
  if (tying.WantsProbe()) start.cross_entropy = probe();
  for (RunMetrics& event : tying.Decide(progress, start, run.params)) log(std::move(event));
  follow();
}

StepValue Run::Step(StageRun& run) {
  const StageOptions& limits = run.stage.limits;
  const double width = WidthOfStep(run.stage, recipe_.run.seed, state_.step);
  run.student->set_ffn_width(FfnWidth(model_.config, width));
  StepValue value;
  for (int i = 0; i < limits.accumulate; ++i) {
    const TokenBatch batch = sampler_->Next(limits.batch);
    const StepKey key = {.seed = recipe_.run.seed, .step = state_.step, .micro = i};
    const double share = 1.0 / limits.accumulate, mine = share / ranks_.size();
    value.Add(run.stage.kind == StageKind::kAlign
                  ? run.student->AddAlignmentGradients(batch, *teacher_, run.stage.loss, mine, key)
                  : run.student->AddGradients(batch, teacher_.get(), run.stage.loss, mine, key),
              share);
  }
  ranks_.Sum(run.params.grad());
  return value;
}

// Means of what the ranks saw; all learn of a signal, and of the time by the first one's clock.
StepValue Run::OverRanks(StepValue value, double& seconds) {
  std::vector<double> all = {ranks_.first() ? seconds : 0.0, EndRequested() ? 1.0 : 0.0};
  value.ForEach([&](double& number) { all.push_back(number / ranks_.size()); });
  ranks_.Sum(all);
  seconds = all[0];
  ended_ = all[1] > 0;
  auto mean = all.begin() + 2;
  value.ForEach([&](double& number) { number = *mean++; });
  return value;
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
  if (!run.stage.widths.empty()) {
    metrics.more["ffn_width"] = WidthOfStep(run.stage, recipe_.run.seed, state_.step - 1);
  }
  if (run.fading) metrics.more["fading"] = run.fading->shares().front();
  if (run.tying != nullptr) {
    run.tying->Describe(metrics);
    metrics.more["trained_parameters"] = static_cast<double>(run.params.trained_elements());
    metrics.more["training_bytes"] = static_cast<double>(run.TrainingBytes());
  }
  for (size_t i = 0; i < value.exit_ce.size(); ++i) {
    metrics.more["exit_ce_" + std::to_string(i + 1)] = value.exit_ce[i];
  }
  if (run.stage.loss.consistency != 0) metrics.more["consistency"] = value.consistency;
  for (size_t i = 0; i < value.gates.size(); ++i) {
    const std::string loop = "_" + std::to_string(i + 1);
    metrics.more["gate_loss" + loop] = value.gates[i].loss;
    metrics.more["gate_accuracy" + loop] = value.gates[i].accuracy;
    metrics.more["gate_agreement" + loop] = value.gates[i].agreement;
  }
  journal_.Write(metrics);
  if (state_.step % std::max<int64_t>(1, recipe_.run.log_steps) != 0) return;
  journal_.line().Show(
      run.stage.name,
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
  const bool averaged = run.optimizer.average().defined();
  if (averaged) run.optimizer.SwapAverage();
  const auto measure = [&](double width, bool fading) {
    return MeasureWith(
        run.student->Snapshot(recipe_.valid.context, fading, FfnWidth(model_.config, width)));
  };
  const double perplexity = measure(1, false);
  for (const double width : run.stage.widths) {
    if (width < 1)
      metrics.more["valid_perplexity_w" + ShortestNumber(width)] = measure(width, false);
  }
  const std::vector<std::string> samples =
      Samples(run.params.ToModel(), *tokenizer_, recipe_.valid.prompts, recipe_.valid.new_tokens,
              at::get_num_threads());
  if (averaged) run.optimizer.SwapAverage();
  metrics.valid_perplexity = perplexity;
  if (run.fading && !run.fading->ended()) {
    metrics.more["valid_perplexity_fading"] = measure(1, true);
  }
  journal_.Write(metrics);
  journal_.line().ShowValidation(metrics);
  for (const std::string& text : samples) {
    journal_.Write({.step = state_.step,
                    .tokens = state_.tokens,
                    .seconds = state_.seconds,
                    .event = "sample",
                    .text = text});
    journal_.line().ShowSample(text);
  }
  return perplexity;
}

void Run::MeasureIfDue(StageRun& run, bool end) {
  if (valid_.empty() || !ranks_.first()) return;
  if (!end && !measuring_.Due(state_)) return;
  last_valid_ = Measure(run);
  measuring_.last = state_.seconds;
}

// Every rank takes as many rows of a batch.
void Run::CheckBatch(size_t stage) const {
  const int batch = recipe_.stages[stage].batch;
  if (batch % ranks_.size() == 0) return;
  throw Error({.function = "Train",
               .problem = "batch " + std::to_string(batch) + " for " +
                          std::to_string(ranks_.size()) + " ranks",
               .expected = "a multiple of their number",
               .file = recipe_.file,
               .field = "stages." + std::to_string(stage) + ".batch"});
}

// A checkpoint that cannot be written leaves the older ones; the run goes on and tries again. While
// steps are being skipped the parameters may be spoilt already, and older checkpoints must stay.
void Run::CheckpointIfDue(StageRun& run, bool end) {
  if (guard_.skipping() || (!end && !saving_.Due(state_))) return;
  saving_.last = state_.seconds;
  state_.sampler = sampler_->state();
  const OptimizerState optimizer = run.optimizer.Collect();
  if (!ranks_.first()) return;
  try {
    journal_.Sync();
    SaveCheckpoint(Folder("checkpoints"), state_, run.params, optimizer, recipe_.run.keep,
                   {.tying = run.tying});
  } catch (const std::exception& error) {
    journal_.Warn(std::string("checkpoint not written: ") + error.what());
    if (end) throw;
  }
}

void Run::RunStage(std::optional<FoundCheckpoint> found) {
  const bool resumed = found.has_value();
  const auto run = StartStage(found);
  const StageOptions& limits = run->stage.limits;
  journal_.Write({.step = state_.step,
                  .tokens = state_.tokens,
                  .seconds = state_.seconds,
                  .event = resumed ? "resume" : "stage",
                  .text = run->stage.name});
  const auto progress = [&](int64_t step, int64_t tokens, double seconds) {
    return StageProgress(limits, state_.stage_step + step, state_.stage_tokens + tokens,
                         state_.stage_seconds + seconds);
  };
  if (!resumed) MeasureIfDue(*run, state_.step == 0 || run->fading.has_value());
  if (!resumed && run->tying != nullptr) DecideTies(*run, false);
  const int64_t step_tokens = int64_t{limits.batch} * limits.accumulate * recipe_.data.length;
  while (progress(0, 0, 0) < 1 && !Stopped()) {
    const double start = RunningSeconds();
    if (run->fading) {
      run->fading->Set(FadeWeights(run->stage.fade, run->fade_groups, progress(0, 0, 0)));
    }
    const StepValue mine = Step(*run);
    double seconds = RunningSeconds() - start;
    const StepValue value = OverRanks(mine, seconds);
    const double norm = run->optimizer.GradNorm();
    const double lr = limits.lr * LrFactor(run->stage.lr, progress(1, step_tokens, seconds));
    if (guard_.Usable(state_, value.loss, norm, limits.spike)) run->optimizer.Step(lr, norm);
    run->params.ZeroGrad();
    seconds = RunningSeconds() - start;
    ranks_.FromFirst(seconds);
    state_.Advance(step_tokens, seconds);
    Report(*run, value, norm, lr, seconds);
    if (cache_ != nullptr && cache_->full()) {
      journal_.WarnOnce("no room for more of the teacher's tokens in " + recipe_.teacher_cache);
    }
    const bool end = progress(0, 0, 0) >= 1;
    if (end && run->fading) run->fading->End();
    if (run->tying != nullptr) DecideTies(*run, end);
    MeasureIfDue(*run, end);
    CheckpointIfDue(*run, end || ended_);
  }
  if (Stopped()) return;
  model_ = run->optimizer.average().defined() ? run->params.ToModel(run->optimizer.average())
                                              : run->params.ToModel();
  state_.NextStage();
}

}  // namespace

TrainResult Train(const Recipe& recipe, const TrainOptions& options) {
  return recipe.speech ? TrainSpeech(recipe, options) : Run(recipe, options).Go();
}

}  // namespace rondo
