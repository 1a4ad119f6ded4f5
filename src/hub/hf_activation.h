// Names of activation functions in config.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "rondo/model_config.h"

namespace rondo {

// nullopt for an unknown name. `gelu_is_tanh`: "gelu" means the tanh form, as in Gemma's first
// files.
std::optional<Activation> ActivationFromName(std::string_view name, bool gelu_is_tanh);
std::string ActivationName(Activation activation);
std::string KnownActivations();  // for error messages

}  // namespace rondo
