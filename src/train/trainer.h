// Trains what a recipe says: a language model, or with a [speech] section a speech model.
//
//   Train(ReadRecipe("recipe.toml", {}), {.resume = true});
#pragma once

#include "train/run/run_loop.h"

namespace rondo {

// As RunTask with the recipe's task.
TrainResult Train(const Recipe& recipe, const TrainOptions& options);

}  // namespace rondo
