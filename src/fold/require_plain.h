// What every fold begins with.
#pragma once

#include "rondo/model.h"

namespace rondo {

// Throws in the name of `function` for a model that shares, has residuals or prefix vectors, and
// names the command that makes a plain model of it.
void RequirePlain(const Model& model, const char* function);

}  // namespace rondo
