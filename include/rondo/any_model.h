// A model of either kind, where a path may name a language model or a speech model.
//
//   const AnyModel any = LoadAnyModel(path);
//   const auto* speech = std::get_if<SpeechModel>(&any);
//   const SharingPlan& plan = speech ? speech->encoder.plan : std::get<Model>(any).plan;
//
// LoadModel (model.h) and LoadSpeechModel (speech_model.h) take one kind, and say so of the other.
// Any number of threads may load at once.
#pragma once

#include <string>
#include <variant>

#include "rondo/model.h"
#include "rondo/speech_model.h"

namespace rondo {

using AnyModel = std::variant<Model, SpeechModel>;

// Throws rondo::Error naming file, field, value and what was expected. What is no speech model is
// read as a language model.
AnyModel LoadAnyModel(const std::string& path, LoadParts parts = LoadParts::kAll);

}  // namespace rondo
