// Hugging Face config.json to ModelConfig and back.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "rondo/model_config.h"

namespace rondo {

// Reads a parsed config.json of a family in hf_family.h (model_type) and validates the result.
// Every key is used, known to have no effect, or must have the one value that this version
// computes; anything else is an Error naming the key and `file`.
ModelConfig HfConfigFromJson(const nlohmann::json& json, const std::string& file);

// The config.json that transformers loads to the same model, in the keys of transformers 4 (which
// version 5 and other readers accept). Throws naming the field if config.family cannot express it.
nlohmann::ordered_json HfConfigToJson(const ModelConfig& config);

}  // namespace rondo
