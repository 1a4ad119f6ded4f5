// Checkpoints of a run: a native model directory that the engine loads as it is, and beside it what
// training needs to continue to the same bits.
//
//   <out>/checkpoints/stage-00-step-00000120/                     the model, f32
//   <out>/checkpoints/stage-00-step-00000120.safetensors, .json optimiser moments, copies, counters
//
// The directory is written last and appears by one rename: where it is, everything is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "corpus/token_data.h"
#include "train/model/params.h"
#include "train/run/optimizer.h"
#include "train/tying/tying.h"

namespace rondo {

// Where a run stands.
struct RunState {
  int stage = 0;
  int64_t step = 0;        // optimiser steps of the run
  int64_t tokens = 0;      // trained on
  double seconds = 0;      // of training
  int64_t stage_step = 0;  // the same of the stage
  int64_t stage_tokens = 0;
  double stage_seconds = 0;
  double loss_mean = 0;  // running, for the spike guard
  SamplerState sampler;

  // Counts a step.
  void Advance(int64_t step_tokens, double step_seconds);
  void NextStage();
};

// What happens every so many minutes of training or steps; 0: never.
struct Cadence {
  double minutes = 0;
  int64_t steps = 0;
  double last = 0;  // seconds of training
  bool Due(const RunState& state) const;
};

// Writes a model of a run's parameters into a directory.
using ModelWriter = std::function<void(const Model& model, const std::string& directory)>;

struct CheckpointExtras {
  const Tying* tying = nullptr;  // of a stage whose layers are tied
  ModelWriter write = {};        // of models that SaveModel is not for
};

// Writes one checkpoint and removes all but the newest `keep`. Throws on a full disk; older
// checkpoints are then still there.
void SaveCheckpoint(const std::string& folder, const RunState& state, const Params& params,
                    const OptimizerState& optimizer, int keep, const CheckpointExtras& extras = {});

// Removes what killed processes left of unfinished checkpoints.
void RemoveLeftovers(const std::string& folder);

struct FoundCheckpoint {
  RunState state;
  std::string model;    // directory
  std::string tensors;  // file of the optimiser's state
  std::string numbers;  // file of what is no tensor
};

// The newest whole checkpoint.
std::optional<FoundCheckpoint> FindCheckpoint(const std::string& folder);

// Puts the stored copies of parameters (see mixture.h) into fresh ones.
void LoadCopies(const FoundCheckpoint& checkpoint, Params& params);

// Puts the stored scales and offsets of rounded tensors beside the latents that `model` has.
void LoadGrids(const FoundCheckpoint& checkpoint, const RoundTypes& types, Model& model);

// Puts the stored ties and their agent into fresh ones.
void LoadTies(const FoundCheckpoint& checkpoint, Tying& tying);

// What was stored of the optimiser of `elements` values. Throws if there are others.
OptimizerState LoadOptimizer(const FoundCheckpoint& checkpoint, int64_t elements);

}  // namespace rondo
