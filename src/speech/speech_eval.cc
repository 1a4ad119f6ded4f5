#include "speech/speech_eval.h"

#include <utility>

#include "base/stopwatch.h"
#include "speech/features.h"

namespace rondo {
namespace {

// `recognize` gives text and seconds of audio of one utterance.
template <typename Recognize, typename Normalize>
SpeechEval Evaluate(std::span<const Utterance> utterances, const SpeechEvalOptions& options,
                    const Recognize& recognize, const Normalize& normalize) {
  SpeechEval result;
  for (const Utterance& utterance : utterances) {
    const Stopwatch watch;
    const auto [text, seconds] = recognize(utterance);
    result.seconds += watch.Seconds();
    result.audio_seconds += seconds;
    const std::string& reference =
        options.search.translate ? utterance.translation : utterance.text;
    if (options.plain) {
      result.Add(PlainText(reference), PlainText(text));
    } else {
      result.Add(normalize(reference), normalize(text));
    }
    if (options.on_result) options.on_result(utterance);
  }
  return result;
}

}  // namespace

void SpeechEval::Add(std::string reference, std::string hypothesis) {
  ++utterances;
  words += WordEdits(reference, hypothesis);
  characters += CharacterEdits(reference, hypothesis);
  references.push_back(std::move(reference));
  hypotheses.push_back(std::move(hypothesis));
}

SpeechEval EvaluateSpeech(const Recognizer& recognizer, std::span<const Utterance> utterances,
                          const SpeechEvalOptions& options) {
  const Fbank fbank(FbankOf(recognizer.config().front));
  AudioStore store;
  const auto recognize = [&](const Utterance& utterance) {
    const AudioClip clip = store.Read(utterance.audio, recognizer.config().front.sample_rate);
    const Recognition found =
        recognizer.Recognize(fbank.Compute(clip.samples).values, options.search);
    return std::pair(found.text, clip.seconds());
  };
  return Evaluate(utterances, options, recognize,
                  [&](const std::string& text) { return recognizer.units().Normalize(text); });
}

SpeechEval EvaluateSpeech(Transcriber& transcriber, std::span<const Utterance> utterances,
                          const SpeechEvalOptions& options) {
  AudioStore store;
  const auto recognize = [&](const Utterance& utterance) {
    const auto source = store.Open(utterance.audio, transcriber.sample_rate());
    std::string text;
    const double seconds =
        transcriber.Run(*source, {.segment = [&](const Segment& s) { text += s.text + " "; }});
    return std::pair(text, seconds);
  };
  return Evaluate(utterances, options, recognize, SingleSpaces);
}

}  // namespace rondo
