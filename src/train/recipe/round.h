// Which tensors of a stage train rounded, and to which types.
#pragma once

#include <string>
#include <vector>

#include "rondo/model.h"
#include "train/model/rounded_tensor.h"
#include "train/recipe/place.h"
#include "train/recipe/recipe.h"

namespace rondo {

// Matrices that a pattern names. The first that matches a name decides.
struct RoundPattern {
  std::string pattern;
  DType dtype;
};

// Of `texts`, each "pattern:type". Throws naming `place` for types whose scales cannot be learned.
std::vector<RoundPattern> ParseRound(const std::vector<std::string>& texts, const Place& place);

// The model of Recipe::rounded. Throws when it is not `model`, rounded.
Model LoadRounded(const Recipe& recipe, const Model& model);

// Types of a stage's rounded tensors: what `round` says, and of tensors that it does not name those
// of `file` (null: none). Throws for a pattern without matrices, and for types that do not fit.
RoundTypes ResolveRound(const Recipe& recipe, size_t index, const Weights& weights,
                        const Model* file);

}  // namespace rondo
