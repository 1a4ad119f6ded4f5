// What a run trains: models, data and losses. The loop (run_loop.h) knows recipes, time, signals,
// checkpoints and logs, and calls a task in this order:
//
//   Prepare; Restore (when a run goes on); for each stage: BeginStage,
//   { AddGradients, BetweenSteps, Measure (when due) } …, EndStage; Save
//
// language/language_task.h and speech/speech_task.h are the two tasks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/run_log.h"
#include "rondo/tensor.h"
#include "train/recipe/stage.h"
#include "train/run/journal.h"
#include "train/run/optimizer.h"
#include "train/run/ranks.h"
#include "train/run/run_state.h"

namespace rondo {

// What a run lends its task.
struct RunContext {
  const Recipe& recipe;
  const Ranks& ranks;
  Journal& journal;
  bool quiet = false;
};

// A path in the run's folder.
std::string RunPath(const Recipe& recipe, const std::string& name);

// Of a teacher: bf16 where every stage that it teaches computes in it.
ComputeType TeacherCompute(std::span<const Stage> stages);

// What lives as long as a stage, whatever is trained.
struct StageRun {
  // `model` holds all trained tensors by name, and of rounded ones latents and grids; `ranks`
  // outlive the stage.
  StageRun(Stage s, const Model& model, std::span<const TrainGroup> groups, at::Device device,
           const Ranks& ranks);
  StageRun(const StageRun&) = delete;
  StageRun& operator=(const StageRun&) = delete;

  // Share of the stage that is done.
  double Progress(const RunState& state) const;

  Stage stage;
  Params params;
  Optimizer optimizer;
};

// Gradients of a step are in the stage's parameters; this is the rest.
struct StepResult {
  int64_t tokens = 0;  // trained on; positions of a speech encoder
  RunMetrics metrics;  // the loss and its parts, of all ranks
};

// How good the model is that would be saved now.
struct Measurement {
  RunMetrics metrics;
  std::string summary;               // a line for people
  std::vector<std::string> samples;  // what the model writes
};

class TrainingTask {
 public:
  virtual ~TrainingTask() = default;

  // Checks the recipe, reads models and data. What would fail later fails here, and nothing is kept
  // yet.
  virtual void Prepare() = 0;

  // The place in the data. Restore throws where the place is one in other data.
  virtual SamplerState Place() const = 0;
  virtual void Restore(const SamplerState& place) = 0;

  // Begins stage `state.stage` where the one before ended, or, with a checkpoint, where that is.
  // The loop restores the optimiser. The result lives until EndStage.
  virtual StageRun& BeginStage(const RunState& state, const FoundCheckpoint* found) = 0;

  // Draws the data of the step behind `state.step` and adds its gradients over all ranks.
  virtual StepResult AddGradients(const RunState& state) = 0;

  // Work before the first step of a stage and behind every step; `end`: that was the stage's last.
  // Time that counts as training is added to the state.
  virtual void BetweenSteps(RunState&, bool /*end*/) {}

  // Whether there is something to measure with, and whether the stage's start is worth it.
  virtual bool CanMeasure() const = 0;
  virtual bool MeasuresStart(const RunState& state) const { return state.step == 0; }
  // On the first rank alone. Leaves parameters and data as they are.
  virtual Measurement Measure() = 0;

  // What checkpoints hold besides the common part.
  virtual CheckpointExtras Extras() { return {}; }

  // `trained` has all parameters as the stage leaves them.
  virtual void EndStage(Model trained) = 0;

  // Writes the finished model.
  virtual void Save(const std::string& directory, DType store) const = 0;
  // Writes it with the tensors that were trained rounded in their types; false: there are none.
  virtual bool SaveRounded(const std::string& /*file*/, DType /*store*/) const { return false; }
};

}  // namespace rondo
