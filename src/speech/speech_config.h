// config.json of a speech model. docs/speech.md describes it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "rondo/speech_model.h"

namespace rondo {

// The text of config.json.
std::string SpeechConfigText(const SpeechModel& model);

// Everything but weights and path. `file` is named in errors.
SpeechModel ParseSpeechConfig(std::string_view text, const std::string& file);

// A list of pairs of small numbers; empty when absent.
std::vector<std::array<int, 2>> IntPairs(JsonObject& object, const char* key);

}  // namespace rondo
