// How well a speech model reads a list of utterances.
//
//   SpeechEval result = EvaluateSpeech(recognizer, ReadManifest("test.tsv"), {});
//   result.words.Rate();
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "rondo/audio.h"
#include "rondo/recognizer.h"
#include "rondo/text_metrics.h"

namespace rondo {

struct SpeechEval {
  int64_t utterances = 0;
  EditCounts words, characters;  // of the texts as the model's units normalise them
  double audio_seconds = 0;
  double seconds = 0;  // of recognition, features included, reading and decoding of audio not
  double RealTimeFactor() const { return audio_seconds > 0 ? seconds / audio_seconds : 0; }
  std::vector<std::string> references, hypotheses;  // normalised

  // Takes one utterance into account.
  void Add(const SpeechUnits& units, const std::string& reference, const std::string& hypothesis);
};

struct SpeechEvalOptions {
  SearchOptions search;
  // Called behind each utterance.
  std::function<void(const Utterance&, const Recognition&)> on_result;
};

// References are the texts, or with search.translate the translations. Throws for audio that cannot
// be read.
SpeechEval EvaluateSpeech(const Recognizer& recognizer, std::span<const Utterance> utterances,
                          const SpeechEvalOptions& options);

}  // namespace rondo
