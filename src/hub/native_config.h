// config.json of a model directory, native or Hugging Face. docs/model-format.md describes the
// native one.
#pragma once

#include <string>
#include <string_view>

#include "rondo/model_config.h"
#include "rondo/sharing_plan.h"
#include "rondo/tensor.h"

namespace rondo {

struct ConfigFile {
  ModelConfig config;
  SharingPlan plan;  // the identity plan for a Hugging Face configuration
  bool native = false;
};

// Reads and validates the text of a config.json; `file` is named in errors.
ConfigFile ParseConfigFile(std::string_view text, const std::string& file);

// The text of config.json; `store` is the type of the matrices beside it.
std::string HfConfigText(const ModelConfig& config, DType store);
std::string NativeConfigText(const ModelConfig& config, const SharingPlan& plan, DType store);

}  // namespace rondo
