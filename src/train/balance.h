// Factors of low-rank residuals of one length.
#pragma once

#include <span>

#include "rondo/model.h"
#include "train/params.h"

namespace rondo {

// Gives both sides of every rank-one part of the residuals that the groups train the same length;
// where one side is zero, as at a zero start, nothing changes. The model stays the same to
// rounding. Of an SVD's U·Σ and V one is longer than the other by the singular values, by factors
// of hundreds: no learning rate suits both.
void BalanceFactors(Model& model, std::span<const TrainGroup> groups);

}  // namespace rondo
