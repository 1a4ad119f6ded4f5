// The forward pass written out in double precision, straight from the definitions: no cache, no
// packing, residuals merged into dense matrices. Tests compare the engine with it.
#pragma once

#include <span>
#include <vector>

#include "rondo/model.h"

namespace rondo {

// Dense matrix [out, in] of a linear at a depth, shared weight and residual merged.
std::vector<double> MergedMatrix(const Model& model, Module m, int depth);

// Logits [tokens, vocab] of one sequence from position 0.
std::vector<double> ReferenceLogits(const Model& model, std::span<const int32_t> tokens);

}  // namespace rondo
