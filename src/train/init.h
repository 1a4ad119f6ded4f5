// The model that a recipe begins with.
#pragma once

#include "rondo/model.h"
#include "train/recipe.h"

namespace rondo {

// `model`, or what [init] describes. Throws when the recipe has both or neither.
Model StartingModel(const Recipe& recipe);

// Random weights, the same for the same seed everywhere: matrices normal with `deviation`, those
// that write into the residual stream (o, down) with deviation / sqrt(2 · layers) (Radford et al.
// 2019), norms one, biases zero; residuals add nothing. Every tensor has a stream of its own, so
// models of the same shapes and seed agree in the tensors that their plans have in common. The
// path is the tokenizer's. `file` is named in errors.
Model InitialModel(const InitSection& init, const std::string& file);

}  // namespace rondo
