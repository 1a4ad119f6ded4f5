// Layers that tie themselves while training: which decision is due, what it is, what it earned.
//
//   Tying tying(recipe, model);
//   if (tying.open()) log(tying.Close(cross_entropy));    // reward, one update of the agent
//   log(tying.Decide(progress, probe));                    // new ties
//
// The agent (Hay and Wolf, ICLR 2024) is one policy; fixed ones and the replay of a recorded run
// stand behind the same functions. Random choices follow from the seed and a decision's number.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/run_log.h"
#include "corpus/token_data.h"
#include "rondo/model.h"
#include "train/recipe/recipe.h"
#include "train/tying/q_agent.h"
#include "train/tying/retie.h"
#include "train/tying/tie_policies.h"

namespace rondo {

// [tying], checked against the model.
struct TyingOptions {
  TyingSection section;
  bool own_norms;
  bool summed;  // gradients of tied layers join their owner's
  TieResidual residual;
  QAgentOptions agent;
  TiePolicyOptions policy;
};

// Throws naming the recipe's file and the key that makes no sense.
TyingOptions ResolveTying(const Recipe& recipe, const Model& model);

// The stage whose layers are tied; -1: none. Throws where tying.stage is no stage's name, or
// several have it.
int TiedStage(const Recipe& recipe);

// Throws when several processes would have to agree on the ties.
void CheckTyingRanks(const Recipe& recipe, int ranks);

// Of a decision that is open: where its probe came from, and its quality before.
struct TieProbeStart {
  SamplerState sampler;
  double cross_entropy = 0;
};

class Tying {
 public:
  // `model` shares nothing. Throws as ResolveTying does, and for a log that cannot be replayed.
  Tying(const Recipe& recipe, const Model& model);

  const Ties& ties() const { return ties_; }
  // Those of a model that shares nothing, as the stage finds it.
  Ties Untied() const;
  const TyingOptions& options() const { return options_; }
  // The model whose weights untied layers get back; null: they copy.
  const Model* original() const { return original_ ? &*original_ : nullptr; }

  // Whether there is anything to do behind step `stage_step` of the stage.
  bool Due(int64_t stage_step, double progress) const;

  // An open decision waits for its reward.
  const TieProbeStart* open() const { return open_ ? &open_->probe : nullptr; }
  // Whether the quality before a decision is wanted.
  bool WantsProbe() const { return options_.section.reward == TieReward::kRelative; }
  // The reward of the open decision, from the cross-entropy of a batch in nats. Ties may be what
  // they were before the decision again.
  RunMetrics Close(double cross_entropy);

  // Makes the next decision, or applies a fixed policy, and tells what changed.
  std::vector<RunMetrics> Decide(double progress, const TieProbeStart& probe, const Params& params);

  // Which of the parameters with these names are trained: `groups` say it, but those of layers that
  // wait are not.
  std::vector<TrainGroup> Groups(std::span<const TrainGroup> groups,
                                 std::span<const std::string> names) const;
  // independent_layers, stored_parameters.
  void Describe(RunMetrics& metrics) const;

  nlohmann::json Save() const;
  std::vector<std::pair<std::string, Tensor>> SaveTensors() const;
  // From a checkpoint's JSON and file of tensors.
  void Load(const nlohmann::json& json, const std::string& json_file, const std::string& tensors);

 private:
  struct Position {
    int unit = 0, depth = 1;
    int64_t episode = 0;
  };
  struct Open {
    Position at;
    int action = 0;
    std::vector<float> state;
    TieProbeStart probe;
    double stored = 0;  // share of the untied parameters before it, where rewards are differences
    std::optional<TieState> before = {};  // to go back to, where the decision may be taken back
  };

  Position PositionOf(int64_t decision) const;
  ActionSlice SliceOf(const Position& at) const;
  std::vector<uint8_t> Allowed(const Position& at, double progress) const;
  int64_t Stored(const TieState& state) const;
  double StoredShare() const;  // of the untied parameters
  double Quality(double cross_entropy) const;
  void Update(TieState state);
  void ReadDecisions(const std::string& path);
  RunMetrics TieEvent(int unit) const;

  TyingOptions options_;
  ModelConfig config_;
  SharingPlan base_;
  Ties ties_;
  std::optional<Model> original_;
  std::optional<QAgent> agent_;
  std::vector<int> recorded_;  // actions of a run to replay
  int64_t decisions_ = 0;
  bool applied_ = false;  // a fixed policy
  std::optional<Open> open_;
  int64_t untied_ = 0;  // parameters when nothing is tied
};

}  // namespace rondo
