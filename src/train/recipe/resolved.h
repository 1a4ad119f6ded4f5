// The resolved recipe in a run's folder.
#pragma once

#include "train/recipe/recipe.h"

namespace rondo {

// A run may only go on as it was begun: throws where <run.out>/resolved.toml is of another recipe.
void CheckResolved(const Recipe& recipe);

// Writes it, so that the folder is this recipe's from now on.
void KeepResolved(const Recipe& recipe);

// Throws for a [run] section that could not be followed to the end.
void CheckRunSection(const Recipe& recipe);

}  // namespace rondo
