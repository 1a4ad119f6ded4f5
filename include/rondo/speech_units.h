// Text to the units of a speech model and back.
//
//   SpeechModel model = LoadSpeechModel("models/digits");
//   auto units = LoadSpeechUnits(model);
//   std::vector<int32_t> ids = units->Encode("Seven, please.");
//   std::cout << units->Decode(ids);
//
// Immutable; any number of threads may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/speech_model.h"

namespace rondo {

// Lower case without punctuation and symbols (an apostrophe inside a word stays), words separated
// by single spaces. Letters of any script; invalid UTF-8 is left out.
std::string PlainText(std::string_view text);

// Single spaces between words, none at the ends.
std::string SingleSpaces(std::string_view text);

class SpeechUnits {
 public:
  virtual ~SpeechUnits() = default;
  // Of the text as the model knows it: Normalize(text).
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  // Ids before kFirstTextUnit are passed over (with a tokenizer of its own: special tokens).
  virtual std::string Decode(std::span<const int32_t> ids) const = 0;
  // What texts are compared as: PlainText where the model is of lower case, SingleSpaces otherwise.
  virtual std::string Normalize(std::string_view text) const = 0;
};

// `directory` holds the tokenizer of units that need one. Throws rondo::Error.
std::shared_ptr<const SpeechUnits> MakeSpeechUnits(const UnitConfig& config,
                                                   const std::string& directory);
inline std::shared_ptr<const SpeechUnits> LoadSpeechUnits(const SpeechModel& model) {
  return MakeSpeechUnits(model.config.units, model.path);
}

// The characters of texts, as UnitConfig::list has them: sorted, each once.
std::vector<std::string> CharactersOf(std::span<const std::string> texts);

}  // namespace rondo
