// Which layer takes whose weights, while training decides about it (Hay and Wolf, "Dynamic Layer
// Tying for Parameter-Efficient Transformers", ICLR 2024).
//
// A unit is a set of modules about which one decision is made for a layer: all of them as
// published, or attention and feed-forward apart, or every linear alone. For each unit choice[d] is
// the layer whose weights layer d takes, itself when it is independent. A layer that takes the
// weights of a layer that takes another's follows that one, also later: the stored tensors in use
// are a function of the choices, except where an aliasing untie made two layers train the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rondo/fold.h"

namespace rondo {

enum class TieUnits {
  kLayer,   // one decision about a whole layer
  kHalf,    // attention and feed-forward apart
  kModule,  // every linear alone; norms are then each layer's own
};

// What layers are before the first decision about them.
enum class TieStart {
  kFrozen,       // random weights of their own that are not trained, but for layer 0 (published)
  kIndependent,  // trained weights of their own
  kTied,         // tied to layer 0
};

// What a tied layer begins with when it becomes independent.
enum class Untie {
  kCopy,     // a copy of the weights it used (what the paper says)
  kAlias,    // the very tensors that it used, which it now trains too (what the authors' code does)
  kRestore,  // its own weights in the model that the run began with
};

struct TieUnit {
  std::string name;  // layer; attention, ffn; q, k, …
  std::vector<Module> modules;
  std::vector<int> choice;      // [depths], as the agent sees it: 0 … d
  std::vector<int> own;         // [depths] stored tensors of the layer when it is independent
  std::vector<int> storage;     // [depths] stored tensors in use
  std::vector<uint8_t> frozen;  // [depths] nothing was decided yet: own weights, not trained

  bool Independent(int depth) const {
    const auto d = static_cast<size_t>(depth);
    return choice[d] == depth && frozen[d] == 0;
  }
  bool Tied(int depth) const {
    const auto d = static_cast<size_t>(depth);
    return choice[d] != depth && frozen[d] == 0;
  }
  // Layer `depth` takes the weights of layer `action` <= depth, its own if they are equal.
  void Act(int depth, int action, Untie untie);
  // Whether no independent layer uses these stored tensors.
  bool Untrained(int storage_id) const;
  bool operator==(const TieUnit&) const = default;
};

struct TieState {
  std::vector<TieUnit> units;

  int depths() const { return static_cast<int>(units.front().choice.size()); }
  // As the agent sees it: all choices, unit after unit.
  std::vector<float> Vector() const;
  // Mean over units of the number of independent layers.
  double IndependentLayers() const;
  bool operator==(const TieState&) const = default;
};

// `own_norms`: norms are not tied.
TieState StartTies(const ModelConfig& config, TieUnits units, TieStart start, bool own_norms);

// What tied layers add of their own.
struct TieResidual {
  ResidualKind kind = ResidualKind::kNone;  // none, lora, lora-diag, dora
  int rank = 0;
  ResidualStart start = ResidualStart::kFit;  // to the layer as it was when it was tied
};

// `base`, which shares nothing, with the ties of `state`. Ranks are 0 where a layer is not tied.
SharingPlan PlanOfTies(const ModelConfig& config, const SharingPlan& base, const TieState& state,
                       const TieResidual& residual);

// Non-embedding parameters of a model with these ties.
int64_t StoredParameters(const ModelConfig& config, const SharingPlan& base, const TieState& state,
                         const TieResidual& residual);

}  // namespace rondo
