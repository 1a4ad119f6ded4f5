// Weights of an unrolled model in the form that other programs know.
#pragma once

#include "rondo/model.h"

namespace rondo {

// The same model with exactly the tensors of the identity plan: absorbed norms become unit gains
// (and zero biases), biases that depths own move to their blocks. Throws naming the module if
// depths share a block or a residual is left, and for a plan with a prefix.
Model PlainModel(const Model& model);

}  // namespace rondo
