// How a model's authors advise to sample.
#pragma once

#include <string>

#include "rondo/generate.h"

namespace rondo::cli {

// Takes temperature, top_k, top_p, min_p and repetition_penalty from the generation_config.json of
// a model's directory, if it has one that names any of them; what such a file does not name is off,
// and "do_sample": false is greedy. Without one nothing changes. Throws naming file and field for
// values that are no such numbers.
void ReadGenerationConfig(const std::string& model, SamplingOptions* sampling);

}  // namespace rondo::cli
