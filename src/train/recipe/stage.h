// A stage as it runs: its options checked, and brought into the structs of what carries them out.
#pragma once

#include <string>
#include <vector>

#include "train/model/fading.h"
#include "train/model/params.h"
#include "train/model/student.h"
#include "train/recipe/recipe.h"
#include "train/recipe/round.h"
#include "train/recipe/schedule.h"
#include "train/run/optimizer.h"

namespace rondo {

struct Stage {
  std::string name;
  StageKind kind;
  StageOptions limits;  // steps, tokens, minutes, batch, accumulate, lr, spike
  std::vector<TrainGroup> groups;
  Rounding rounding;  // types: by ResolveRound, when the model is known
  LrOptions lr;
  OptimizerOptions optimizer;
  std::vector<double> widths;  // shares of the feed-forward's width; empty: the whole
  LossOptions loss;
  FadeOptions fade;
  FadeBy fade_by;
  Recompute recompute;
  ComputeType compute;
  bool NeedsTeacher() const {
    return kind == StageKind::kAlign || loss.vocab.kd != 0 || loss.hidden != 0 ||
           fade.kind != FadeKind::kNone;
  }
};

// Throws naming the recipe's file and the field that makes no sense.
Stage ResolveStage(const Recipe& recipe, size_t index, const ModelConfig& config);

// The share that step `step` of a run trains; 1 without widths. Follows from the arguments alone,
// so that a resumed run goes on as it would have.
double WidthOfStep(const Stage& stage, uint64_t seed, int64_t step);

// Throws when a stage asks for what the model's plan does not have.
void CheckPlan(const Recipe& recipe, size_t index, const Stage& stage, const Model& model);

// Throws for a pattern of `parameters` that is no name's of `weights`.
void CheckPatterns(const Recipe& recipe, size_t index, const Weights& weights);

// Throws where rows of data.length are longer than a model's positions; `whose`: model or teacher.
void CheckLength(const Recipe& recipe, const ModelConfig& config, const char* whose);

// CheckLength, and throws where a stage learns from hidden states that are not of the model's
// shape.
void CheckTeacher(const Recipe& recipe, const ModelConfig& model, const ModelConfig& teacher);

// Share of the stage that is done.
double StageProgress(const StageOptions& limits, int64_t steps, int64_t tokens, double seconds);

}  // namespace rondo
