#include "train/language/language_task.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/strings.h"
#include "rondo/error.h"
#include "rondo/export.h"
#include "rondo/ffn_width.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"
#include "text/unicode/text_source.h"
#include "train/language/init.h"
#include "train/language/language_stage.h"
#include "train/language/samples.h"
#include "train/language/validation.h"
#include "train/loss/gate_loss.h"
#include "train/model/balance.h"
#include "train/run/device.h"
#include "train/run/interrupts.h"

namespace rondo {
namespace {

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

const Model* Given(const std::optional<Model>& model) { return model ? &*model : nullptr; }

class LanguageTask : public TrainingTask {
 public:
  explicit LanguageTask(const RunContext& run) : run_(run), recipe_(run.recipe) {}

  void Prepare() override;
  SamplerState Place() const override { return sampler_->state(); }
  void Restore(const SamplerState& place) override { sampler_->Restore(place); }
  StageRun& BeginStage(const RunState& state, const FoundCheckpoint* found) override;
  StepResult AddGradients(const RunState& state) override;
  void BetweenSteps(RunState& state, bool end) override;
  bool CanMeasure() const override { return !valid_.empty(); }
  bool MeasuresStart(const RunState& state) const override {
    return state.step == 0 || stage_->fading.has_value();
  }
  Measurement Measure() override;
  CheckpointExtras Extras() override { return {.tying = stage_->tying}; }
  void EndStage(Model trained) override;
  void Save(const std::string& directory, DType store) const override {
    SaveModel(model_, directory, store);
  }
  bool SaveRounded(const std::string& file, DType store) const override;

 private:
  std::vector<Stage> CheckStages();
  void LoadData();
  void LoadTeacher(const std::vector<Stage>& stages);
  void CheckBatch(size_t stage) const;
  // The stage's start in model_ as parameters: factors balanced, latents and grids of what is
  // rounded.
  void PrepareParameters(size_t index, const FoundCheckpoint* found, Stage& stage);
  std::string StageStart(int stage) const;
  void StartFading(int stage);
  StepValue Gradients(const RunState& state);
  StepValue MeanOverRanks(StepValue value) const;
  RunMetrics Describe(const StepValue& value, double width) const;
  double PerplexityAt(double width, bool fading) const;
  void DecideTies(RunState& state, bool end);

  const RunContext& run_;
  const Recipe& recipe_;
  at::Device device_ = at::kCPU;
  Model model_;                // at the beginning of the stage
  std::optional<Model> file_;  // Recipe::rounded
  // Tensors as they are stored of what is rounded: the file's at first, then those that the stage
  // before left, if it rounded.
  std::optional<Model> rounded_;
  std::string tokenizer_path_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Teacher> teacher_;
  std::unique_ptr<TeacherCache> cache_;
  std::unique_ptr<Tying> tying_;
  std::unique_ptr<RowSampler> sampler_;
  std::vector<int32_t> valid_;
  std::unique_ptr<LanguageStage> stage_;
};

void LanguageTask::Prepare() {
  device_ = FindDevice(recipe_.run.device, {recipe_.file, "run"});
  model_ = StartingModel(recipe_);
  CheckLength(recipe_, model_.config, "model");
  if (!recipe_.rounded.empty()) rounded_ = file_ = LoadRounded(recipe_, model_);
  tokenizer_path_ = model_.path;
  const std::vector<Stage> stages = CheckStages();
  LoadData();
  if (std::ranges::any_of(stages, &Stage::NeedsTeacher)) LoadTeacher(stages);
}

std::vector<Stage> LanguageTask::CheckStages() {
  const int tied = TiedStage(recipe_);
  std::vector<Stage> stages;
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    const Stage& stage = stages.emplace_back(ResolveStage(recipe_, i, model_.config));
    CheckPlan(recipe_, i, stage, model_);
    CheckBatch(i);
    // What residuals there are behind ties is not known yet.
    if (tied >= 0 && static_cast<int>(i) >= tied) continue;
    CheckPatterns(recipe_, i, model_.weights);
    ResolveRound(recipe_, i, model_.weights, Given(file_));
  }
  if (tied >= 0) {
    CheckTyingRanks(recipe_, run_.ranks.size());
    tying_ = std::make_unique<Tying>(recipe_, model_);
  }
  return stages;
}

// Every rank takes as many rows of a batch.
void LanguageTask::CheckBatch(size_t stage) const {
  const int batch = recipe_.stages[stage].batch, ranks = run_.ranks.size();
  if (batch % ranks == 0) return;
  throw Error(
      {.function = "Train",
       .problem = "batch " + std::to_string(batch) + " for " + std::to_string(ranks) + " ranks",
       .expected = "a multiple of their number",
       .file = recipe_.file,
       .field = "stages." + std::to_string(stage) + ".batch"});
}

void LanguageTask::LoadData() {
  // The first rank packs what is missing, and the others find it.
  if (!run_.ranks.first()) run_.ranks.Wait();
  tokenizer_ = LoadTokenizer(tokenizer_path_);
  sampler_ = std::make_unique<RowSampler>(
      OpenData(recipe_, *tokenizer_, run_.quiet),
      SamplerOptions{
          .length = recipe_.data.length, .rows = recipe_.data.rows, .seed = recipe_.run.seed});
  if (run_.ranks.first()) run_.ranks.Wait();
  if (recipe_.valid.text.empty()) return;
  // As `rondo eval` reads it: text is data, and control tokens in it are not.
  valid_ = tokenizer_->Encode(ReadText(recipe_.valid.text),
                              {.add_special = true, .parse_special = false});
}

void LanguageTask::LoadTeacher(const std::vector<Stage>& stages) {
  const Model teacher = LoadModel(recipe_.teacher);
  if (teacher.config.vocab != model_.config.vocab) {
    throw Error({.function = "Train",
                 .problem = "a vocabulary of " + std::to_string(teacher.config.vocab),
                 .expected = "the model's, " + std::to_string(model_.config.vocab),
                 .file = recipe_.file,
                 .field = "teacher"});
  }
  CheckTeacher(recipe_, model_.config, teacher.config);
  teacher_ =
      std::make_unique<Teacher>(teacher, recipe_.data.length, TeacherCompute(stages), device_);
  if (recipe_.teacher_cache.empty()) return;
  cache_ = std::make_unique<TeacherCache>(recipe_.teacher_cache, *teacher_,
                                          std::min(recipe_.teacher_top_k, teacher.config.vocab),
                                          recipe_.data.length);
}

std::string LanguageTask::StageStart(int stage) const {
  if (stage == 0 && !recipe_.init) return recipe_.model;
  return RunPath(recipe_, "stage-" + std::to_string(stage) + "-start");
}

StageRun& LanguageTask::BeginStage(const RunState& state, const FoundCheckpoint* found) {
  if (found != nullptr) {
    model_ = LoadModel(found->model);
    model_.path = tokenizer_path_;  // this checkpoint will make room for newer ones
  }
  const auto index = static_cast<size_t>(state.stage);
  Stage stage = ResolveStage(recipe_, index, model_.config);
  if (stage.loss.gate != 0) AddExitGate(model_);
  // Fading needs the start again when the run goes on.
  if (found == nullptr && StageStart(state.stage) != recipe_.model &&
      stage.fade.kind != FadeKind::kNone) {
    if (run_.ranks.first()) SaveModel(model_, StageStart(state.stage), DType::kF32);
    run_.ranks.Wait();
  }
  Tying* tying = TiedStage(recipe_) == state.stage ? tying_.get() : nullptr;
  if (tying == nullptr) CheckPatterns(recipe_, index, model_.weights);
  PrepareParameters(index, found, stage);
  if (found != nullptr && tying != nullptr) LoadTies(*found, *tying);
  stage_ = std::make_unique<LanguageStage>(std::move(stage), model_, recipe_.run.seed, device_,
                                           run_.ranks, tying);
  if (found == nullptr && tying != nullptr) stage_->Retie(tying->Untied());
  if (stage_->stage.fade.kind != FadeKind::kNone) StartFading(state.stage);
  stage_->MakeStudent(recipe_.data.length, cache_.get());
  model_.weights = {};  // the parameters hold them now
  return *stage_;
}

void LanguageTask::PrepareParameters(size_t index, const FoundCheckpoint* found, Stage& stage) {
  RoundTypes& types = stage.rounding.types;
  types = ResolveRound(recipe_, index, model_.weights, Given(file_));
  if (found != nullptr) return LoadGrids(*found, types, model_);
  // What has codes already keeps its weights.
  std::vector<TrainGroup> balanced = stage.groups;
  int64_t coded = 0;
  for (const auto& [name, dtype] : types) {
    if (!HasCodes(Given(rounded_), name, dtype)) continue;
    balanced.insert(balanced.begin(), {.pattern = name, .lr_scale = 0});
    ++coded;
  }
  if (stage.limits.balance) BalanceFactors(model_, balanced);
  model_ = ToLatents(model_, types, Given(rounded_));
  if (types.empty()) return;
  run_.journal.line().Say(stage.name + " rounds " + std::to_string(types.size()) + " matrices, " +
                          std::to_string(types.size() - static_cast<size_t>(coded)) +
                          " of them to nearest at first");
}

void LanguageTask::StartFading(int stage) {
  stage_->fading.emplace(MakeFadingRest(LoadModel(StageStart(stage)), *teacher_),
                         stage_->stage.fade_by);
  stage_->fade_groups = TiedGroups(model_.plan);
}

StepValue LanguageTask::Gradients(const RunState& state) {
  Student& student = *stage_->student;
  const StageOptions& limits = stage_->stage.limits;
  const LossOptions& loss = stage_->stage.loss;
  StepValue value;
  for (int i = 0; i < limits.accumulate; ++i) {
    const TokenBatch batch = sampler_->Next(limits.batch);
    const StepKey key = {.seed = recipe_.run.seed, .step = state.step, .micro = i};
    const double share = 1.0 / limits.accumulate, mine = share / run_.ranks.size();
    value.Add(stage_->stage.kind == StageKind::kAlign
                  ? student.AddAlignmentGradients(batch, *teacher_, loss, mine, key)
                  : student.AddGradients(batch, teacher_.get(), loss, mine, key),
              share);
  }
  stage_->params.FinishGrad();
  run_.ranks.Sum(stage_->params.grad());
  return value;
}

StepValue LanguageTask::MeanOverRanks(StepValue value) const {
  std::vector<double> all;
  value.ForEach([&](double& number) { all.push_back(number / run_.ranks.size()); });
  run_.ranks.Sum(all);
  auto mean = all.begin();
  value.ForEach([&](double& number) { number = *mean++; });
  return value;
}

RunMetrics LanguageTask::Describe(const StepValue& value, double width) const {
  RunMetrics metrics = {.loss = value.loss};
  const Stage& stage = stage_->stage;
  if (stage.kind != StageKind::kAlign) {
    metrics.ce = value.ce;
    metrics.kd = value.kd;
  }
  if (value.hidden != 0) metrics.more["hidden"] = value.hidden;
  if (!stage.widths.empty()) metrics.more["ffn_width"] = width;
  if (stage_->fading) metrics.more["fading"] = stage_->fading->shares().front();
  if (stage_->tying != nullptr) {
    stage_->tying->Describe(metrics);
    metrics.more["trained_parameters"] = static_cast<double>(stage_->params.trained_elements());
    metrics.more["training_bytes"] = static_cast<double>(stage_->TrainingBytes());
  }
  for (size_t i = 0; i < value.exit_ce.size(); ++i) {
    metrics.more["exit_ce_" + std::to_string(i + 1)] = value.exit_ce[i];
  }
  if (stage.loss.consistency != 0) metrics.more["consistency"] = value.consistency;
  for (size_t i = 0; i < value.gates.size(); ++i) {
    const std::string loop = "_" + std::to_string(i + 1);
    metrics.more["gate_loss" + loop] = value.gates[i].loss;
    metrics.more["gate_accuracy" + loop] = value.gates[i].accuracy;
    metrics.more["gate_agreement" + loop] = value.gates[i].agreement;
  }
  return metrics;
}

StepResult LanguageTask::AddGradients(const RunState& state) {
  const Stage& stage = stage_->stage;
  if (stage_->fading) {
    stage_->fading->Set(FadeWeights(stage.fade, stage_->fade_groups, stage_->Progress(state)));
  }
  const double width = WidthOfStep(stage, recipe_.run.seed, state.step);
  stage_->student->set_ffn_width(FfnWidth(model_.config, width));
  const StepValue value = MeanOverRanks(Gradients(state));
  return {.tokens = int64_t{stage.limits.batch} * stage.limits.accumulate * recipe_.data.length,
          .metrics = Describe(value, width)};
}

void LanguageTask::BetweenSteps(RunState& state, bool end) {
  if (end && stage_->fading) stage_->fading->End();
  if (cache_ != nullptr && cache_->full()) {
    run_.journal.WarnOnce("no room for more of the teacher's tokens in " + recipe_.teacher_cache);
  }
  if (stage_->tying == nullptr) return;
  // What deciding takes is the run's time.
  const double start = RunningSeconds();
  DecideTies(state, end);
  const double seconds = RunningSeconds() - start;
  state.seconds += seconds;
  state.stage_seconds += seconds;
}

// Closes the open decision with its reward and makes the next one, as far as they are due.
void LanguageTask::DecideTies(RunState& state, bool end) {
  Tying& tying = *stage_->tying;
  const StageOptions& limits = stage_->stage.limits;
  const double progress = stage_->Progress(state);
  const auto log = [&](RunMetrics metrics) {
    metrics.step = state.step;
    metrics.tokens = state.tokens;
    metrics.seconds = state.seconds;
    run_.journal.Write(metrics);
  };
  const auto probe = [&] {
    return stage_->student->CrossEntropy(sampler_->Next(limits.batch), stage_->stage.loss);
  };
  if (!end && !tying.Due(state.stage_step, progress)) return;
  Ties before = tying.ties();
  const auto follow = [&] {
    if (tying.ties().state == before.state) return;  // the plan follows from it
    stage_->Retie(before);
    stage_->MakeStudent(recipe_.data.length, cache_.get());
    before = tying.ties();
    state.loss_mean = 0;  // another model: its losses are no spikes of the one before
  };
  if (const TieProbeStart* open = tying.open()) {
    const SamplerState now = sampler_->state();
    if (tying.WantsProbe()) sampler_->Restore(open->sampler);
    const double cross_entropy = probe();
    if (tying.WantsProbe()) sampler_->Restore(now);
    log(tying.Close(cross_entropy));
    follow();
  }
  if (end || !tying.Due(state.stage_step, progress)) return;
  TieProbeStart start{.sampler = sampler_->state()};
  if (tying.WantsProbe()) start.cross_entropy = probe();
  for (RunMetrics& event : tying.Decide(progress, start, stage_->params)) log(std::move(event));
  follow();
}

double LanguageTask::PerplexityAt(double width, bool fading) const {
  const Teacher model =
      stage_->student->Snapshot(recipe_.valid.context, fading, FfnWidth(model_.config, width));
  const WindowOptions options = {.context = recipe_.valid.context,
                                 .max_tokens = recipe_.valid.max_tokens};
  return MeasurePerplexity(model, valid_, options).perplexity;
}

// Without the rest that fades, and with the average of the parameters if there is one.
Measurement LanguageTask::Measure() {
  Measurement result;
  RunMetrics& metrics = result.metrics;
  Optimizer& optimizer = stage_->optimizer;
  {
    const AverageInPlace average(optimizer);
    metrics.valid_perplexity = PerplexityAt(1, false);
    for (const double width : stage_->stage.widths) {
      if (width >= 1) continue;
      metrics.more["valid_perplexity_w" + ShortestNumber(width)] = PerplexityAt(width, false);
    }
    if (!recipe_.valid.prompts.empty()) {
      result.samples = Samples(stage_->params.ToRoundedModel(), *tokenizer_, recipe_.valid.prompts,
                               recipe_.valid.new_tokens, at::get_num_threads());
    }
  }
  char text[96];
  std::snprintf(text, sizeof text, "perplexity %.3f", *metrics.valid_perplexity);
  result.summary = text;
  if (!stage_->fading || stage_->fading->ended()) return result;
  const double fading = PerplexityAt(1, true);
  metrics.more["valid_perplexity_fading"] = fading;
  std::snprintf(text, sizeof text, " (with what still fades: %.3f)", fading);
  result.summary += text;
  return result;
}

void LanguageTask::EndStage(Model trained) {
  model_ = std::move(trained);
  rounded_.reset();
  if (!stage_->params.rounded().empty()) {
    const AverageInPlace average(stage_->optimizer);
    rounded_ = stage_->params.ToRoundedModel();
  }
  stage_.reset();
}

bool LanguageTask::SaveRounded(const std::string& file, DType store) const {
  if (!rounded_) return false;
  TensorTypes types = UniformTypes(*rounded_, store);
  for (const auto& [name, tensor] : rounded_->weights) {
    if (IsQuantized(tensor.dtype())) types[name] = tensor.dtype();
  }
  ThreadPool pool(recipe_.run.threads);
  SaveNativeGguf(*rounded_, file, types, pool, run_.quiet);
  return true;
}

}  // namespace

std::unique_ptr<TrainingTask> MakeLanguageTask(const RunContext& context) {
  return std::make_unique<LanguageTask>(context);
}

}  // namespace rondo
