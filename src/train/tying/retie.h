// From one set of ties to the next: where every tensor of the new plan comes from.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "train/model/merge.h"
#include "train/model/params.h"
#include "train/tying/tie_state.h"

namespace rondo {

// A run's ties with the plan that follows from them.
struct Ties {
  TieState state;
  TieResidual residual;
  SharingPlan plan;
};

// The tensors of `after`, whose parameters are `params` under `before`. Stored tensors that stay in
// use keep their values and what the optimiser knows of them; a layer that becomes independent
// begins with a copy of what it used, or with its own weights in `original` if that is not null;
// a newly tied layer's residual is fitted to what the layer was (truncated SVD for lora).
std::map<std::string, ParamSource> TensorsOfTies(const Params& params, const ModelConfig& config,
                                                 const Ties& before, const Ties& after,
                                                 const Model* original);

// Names of stored tensors that no layer trains: those of layers that wait for their first decision.
std::vector<std::string> FrozenTensors(const ModelConfig& config, const Ties& ties);

// Where gradients from a layer do not reach shared tensors: at tied layers, unless `summed` adds
// them to the owner's, and at layers that wait for their first decision.
CutGradients GradientsOfTies(const Ties& ties, bool summed);

}  // namespace rondo
