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

#include "eval/text_metrics.h"
#include "rondo/audio.h"
#include "rondo/recognizer.h"
#include "rondo/transcribe.h"
#include "speech/manifest.h"

namespace rondo {

struct SpeechEval {
  int64_t utterances = 0;
  EditCounts words, characters;  // of the texts as the model's units normalise them
  double audio_seconds = 0;
  double seconds = 0;  // of recognition; reading and decoding of audio files included
  double RealTimeFactor() const { return audio_seconds > 0 ? seconds / audio_seconds : 0; }
  std::vector<std::string> references, hypotheses;  // normalised

  // Takes one utterance into account; both texts are normalised already.
  void Add(std::string reference, std::string hypothesis);
};

struct SpeechEvalOptions {
  SearchOptions search;
  // Compares texts in lower case without punctuation even where the model knows both.
  bool plain = false;
  // Called behind each utterance.
  std::function<void(const Utterance&)> on_result;
};

// References are the texts, or with search.translate the translations. Throws for audio that cannot
// be read.
SpeechEval EvaluateSpeech(const Recognizer& recognizer, std::span<const Utterance> utterances,
                          const SpeechEvalOptions& options);
// The same of models that read long audio window by window (Whisper).
SpeechEval EvaluateSpeech(Transcriber& transcriber, std::span<const Utterance> utterances,
                          const SpeechEvalOptions& options);

}  // namespace rondo
