// The resolved recipe in a run's folder.
#pragma once

#include "train/recipe.h"

namespace rondo {

// A run may only go on as it was begun: writes <run.out>/resolved.toml, or throws when there is one
// of another recipe.
void CheckResolved(const Recipe& recipe);

}  // namespace rondo
