// The speech model that a recipe begins with.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "rondo/audio.h"
#include "rondo/audio_features.h"
#include "rondo/speech_model.h"
#include "speech/manifest.h"
#include "train/recipe/speech_section.h"

namespace rondo {

// Configuration and plan. Units are those of the texts: characters, or a SentencePiece model
// trained on them, whose tokenizer.model is written into `folder` (the model's path then).
SpeechModel SpeechShapeOf(const SpeechSection& speech, std::span<const Utterance> utterances,
                          const std::string& folder, const std::string& file);

// Random weights (random_weights.h), matrices as Glorot and Bengio 2010 have them, the same for the
// same seed everywhere; `cmvn` normalises.
void InitSpeechWeights(uint64_t seed, const GlobalCmvn& cmvn, SpeechModel& model);

}  // namespace rondo
