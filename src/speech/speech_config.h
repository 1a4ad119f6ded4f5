// config.json of a speech model. docs/speech.md describes it.
#pragma once

#include <string>
#include <string_view>

#include "rondo/speech_model.h"

namespace rondo {

// The text of config.json; `store` is the type of the matrices beside it.
std::string SpeechConfigText(const SpeechModel& model, DType store);

// Everything but weights and path. `file` is named in errors.
SpeechModel ParseSpeechConfig(std::string_view text, const std::string& file);

}  // namespace rondo
