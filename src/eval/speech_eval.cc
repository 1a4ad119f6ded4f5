#include "rondo/speech_eval.h"

#include "base/stopwatch.h"
#include "speech/features.h"

namespace rondo {

void SpeechEval::Add(const SpeechUnits& units, const std::string& reference,
                     const std::string& hypothesis) {
  ++utterances;
  references.push_back(units.Normalize(reference));
  hypotheses.push_back(units.Normalize(hypothesis));
  words += WordEdits(references.back(), hypotheses.back());
  characters += CharacterEdits(references.back(), hypotheses.back());
}

SpeechEval EvaluateSpeech(const Recognizer& recognizer, std::span<const Utterance> utterances,
                          const SpeechEvalOptions& options) {
  const Fbank fbank(FbankOf(recognizer.config().front));
  AudioStore store;
  SpeechEval result;
  for (const Utterance& utterance : utterances) {
    const AudioClip clip = store.Read(utterance.audio, recognizer.config().front.sample_rate);
    const Stopwatch watch;
    const Recognition recognition =
        recognizer.Recognize(fbank.Compute(clip.samples).values, options.search);
    result.seconds += watch.Seconds();
    result.audio_seconds += clip.seconds();
    result.Add(recognizer.units(),
               options.search.translate ? utterance.translation : utterance.text, recognition.text);
    if (options.on_result) options.on_result(utterance, recognition);
  }
  return result;
}

}  // namespace rondo
