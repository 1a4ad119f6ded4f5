// The rotary-embedding part of config.json, which has changed its shape over the years.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/json.h"
#include "hub/hf_family.h"
#include "rondo/model_config.h"

namespace rondo {

// Sets rotary_dim, rope_theta, rope_local_theta and rope_scaling from the keys of transformers 4
// (rope_theta, rope_scaling, …) or 5 (rope_parameters). head_dim and max_positions must be set.
void ReadHfRope(JsonObject& object, const HfFamily& family, ModelConfig* config);

// Writes the keys of transformers 4.
void WriteHfRope(const ModelConfig& config, const HfFamily& family, nlohmann::ordered_json* json);

// The positions of a model whose file says `max_positions`: as many as its scaling reaches, since
// Qwen 2.5's files keep those of pretraining there and dynamic scaling begins behind them.
int RopeReach(const RopeScaling& scaling, int max_positions);

// The double that prints as briefly as the float: 1e-5f becomes 1e-05, not 9.999999747378752e-06.
double Shortest(float value);

}  // namespace rondo
