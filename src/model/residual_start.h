// Single residuals: their tensors, and those that add nothing yet, for training from there.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "rondo/weights.h"

namespace rondo {

// The tensors of the residual of linear `m` at `depth`, without its bias; none where the plan has
// none.
std::vector<TensorSpec> ResidualSpecs(const ModelConfig& config, const SharingPlan& plan, Module m,
                                      int depth);

// The parts (a, b, diag, …) of one depth's residual with which it changes nothing of `shared` [out,
// in]; empty where the plan has none. Of two factors `a` is uniform within ±1/√in, as usual for
// LoRA (Hu et al. 2021), and `b` zero, so that training can move both.
std::map<std::string, Tensor> ZeroResidual(const ModelConfig& config, const SharingPlan& plan,
                                           Module m, int depth, const Tensor& shared, Rng& rng);

}  // namespace rondo
