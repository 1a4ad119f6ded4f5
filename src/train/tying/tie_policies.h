// Ties that do not learn, to compare those with that do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/model/params.h"
#include "train/recipe/choices.h"
#include "train/tying/tie_state.h"

namespace rondo {

struct TiePolicyOptions {
  TiePolicy kind = TiePolicy::kFirst;
  int keep = 0;      // kGreedy: independent layers that stay; 0: half of them
  std::string plan;  // kPlan: file
  uint64_t seed = 0;
};

// [depths] the layer whose weights each layer of a unit takes; choices are independent layers.
// Similarity is the cosine between the weights that layers use now.
std::vector<int> ChoicesOfPolicy(const TiePolicyOptions& options, const TieUnit& unit,
                                 const Params& params, const SharingPlan& plan);

}  // namespace rondo
