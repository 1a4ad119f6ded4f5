// Whisper as others keep it: a Hugging Face directory, or CTranslate2's (as faster-whisper's).
#pragma once

#include <string>

#include "rondo/speech_model.h"

namespace rondo {

// Whether a directory with config.json is one of the two.
bool IsWhisper(const std::string& path);

// Encoder and decoder with identity plans; key projections get biases of zeros, which they have not
// in the files. Throws rondo::Error naming file, tensor or key.
SpeechModel LoadWhisper(const std::string& path, LoadParts parts);

}  // namespace rondo
