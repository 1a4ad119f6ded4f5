// Mixtures of residuals (AdaMix: Wang et al., 2022): while a stage trains, each factor of a
// low-rank residual has several copies, of which every step draws one at random, A's and B's each
// for themselves. The model that is measured, stored and used has the mean of the A's and the mean
// of the B's, so that it costs what it did before.
//
//   Params params(WithCopies(model, groups, 4, seed), groups);
//   UseDraw(params, key, 0);       // residuals are now one copy each, which collects the gradient
//   Model merged = params.ToModel();
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rondo/model.h"
#include "train/model/params.h"
#include "train/model/step_key.h"

namespace rondo {

// Names of the factors a and b that the groups train, of all residuals with factors of low rank
// (lora, lora-diag, dora). `scope` stands before names where groups are asked.
std::vector<std::string> TrainedFactors(const ModelConfig& config, const SharingPlan& plan,
                                        std::span<const TrainGroup> groups,
                                        std::string_view scope = {});

// The model and `copies` of each such factor. They are the factor and 1 % of noise (of its root
// mean square), so that they learn different things; the noise of a factor's copies sums to zero,
// and the mean is the factor up to rounding. Factors of zeros stay so: their copies part with the
// first gradient. 0 copies: the model as it is.
Model WithCopies(const Model& model, std::span<const TrainGroup> groups, int copies, uint64_t seed);

// Lets every factor be the copy that draw 0, 1, … of the step chooses.
void UseDraw(Params& params, const StepKey& key, int draw);

}  // namespace rondo
