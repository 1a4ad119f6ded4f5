// Factors of low-rank residuals of one length.
#pragma once

#include <span>
#include <string_view>

#include "rondo/model.h"
#include "train/model/params.h"

namespace rondo {

// Gives both sides of every rank-one part of b · a, b [out, rank], a [rank, in], the same length;
// where one side is zero, as at a zero start, nothing changes. The product stays the same to
// rounding. Of an SVD's U·Σ and V one is longer than the other by the singular values, by factors
// of hundreds: no learning rate suits both.
void BalanceFactors(at::Tensor& a, at::Tensor& b);
// The same for the residuals that the groups train; `scope` stands before their names there.
void BalanceFactors(Model& model, std::span<const TrainGroup> groups, std::string_view scope = {});

}  // namespace rondo
