// Ties that do not learn, to compare those with that do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/model/params.h"
#include "train/tying/tie_state.h"

namespace rondo {

enum class TiePolicy {
  kNone,    // every layer its own: conventional training
  kFirst,   // all to layer 0
  kPairs,   // every second layer to the one before it
  kMirror,  // the second half copies the first in reverse
  kRandom,  // each layer to one up to itself, all as likely
  kGreedy,  // most similar layers first, until `keep` are left
  kPlan,    // a sharing plan, as `rondo fold --suggest` proposes
};

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
