// The model that a recipe begins with.
#pragma once

#include "rondo/model.h"
#include "train/recipe/recipe.h"

namespace rondo {

// `model`, or what [init] describes. Throws when the recipe has both or neither.
Model StartingModel(const Recipe& recipe);

// Random weights (random_weights.h), matrices with `deviation`, the same for the same seed
// everywhere. The path is the tokenizer's. `file` is named in errors.
Model InitialModel(const InitSection& init, const std::string& file);

}  // namespace rondo
