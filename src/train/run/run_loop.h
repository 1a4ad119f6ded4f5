// The loop of a training run, from a recipe to a finished model, for whatever is trained: stages,
// steps and their guard, measurements, checkpoints and resumption, signals, logs.
//
//   RunTask(recipe, {.resume = true}, MakeLanguageTask);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "train/recipe/recipe.h"

namespace rondo {

class TrainingTask;  // task.h
struct RunContext;

struct TrainOptions {
  bool resume = false;     // go on from the newest checkpoint of the run's folder, if there is one
  bool quiet = false;      // no progress on standard error
  int64_t stop_after = 0;  // leave without a word after so many steps of the run, as a kill would
};

struct TrainResult {
  std::string model;    // directory of the finished model; empty when stopped
  std::string rounded;  // file of the same as it was trained; empty when that was not rounded
  int64_t steps = 0;
  int64_t tokens = 0;           // positions of a speech encoder
  double seconds = 0;           // of training, measurements and checkpoints not counted
  double valid_perplexity = 0;  // of the finished model; 0: not measured
};

using MakeTask = std::function<std::unique_ptr<TrainingTask>(const RunContext&)>;

// Throws rondo::Error for recipes that make no sense, data or models that are not there, a folder
// that holds another run, and training that diverged.
TrainResult RunTask(const Recipe& recipe, const TrainOptions& options, const MakeTask& make);

}  // namespace rondo
