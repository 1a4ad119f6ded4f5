// Speech to text as it comes: files of any length, or a microphone, with times of words.
//
//   ThreadPool pool;
//   Transcriber transcriber(LoadSpeechModel("models/whisper-base"), {}, pool);
//   auto source = AudioStore().Open("talk.mp3", transcriber.sample_rate());
//   transcriber.Run(*source, {.segment = [](const Segment& s) { std::cout << s.text << '\n'; }});
//
// Whisper reads windows of 30 s, the next of which begins where its timestamps say that the last
// segment ended (Radford et al. 2022, section 4.5, greedily and without a fallback to higher
// temperatures). Other models stream: text is there after every chunk of attention, and a segment
// ends where nothing was said for a second. Memory does not grow with the audio, unless a model
// without chunks has to wait for the end of a long utterance. One object per thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rondo/audio.h"
#include "rondo/recognizer.h"
#include "rondo/speech_model.h"
#include "rondo/thread_pool.h"

namespace rondo {

struct Word {
  std::string text = {};      // with its punctuation
  double begin = 0, end = 0;  // seconds
};

struct Segment {
  double begin = 0, end = 0;  // seconds
  std::string text = {};
  std::vector<int32_t> units = {};  // timestamps included
  // Empty when not asked for, or the model cannot tell: decoders, and CTC and transducers of full
  // context whose units stand in less than half of the time in which something was heard.
  std::vector<Word> words = {};
};

struct TranscribeOptions {
  std::optional<DType> type = DType::kF32;  // of the matrices in memory, as in EngineOptions
  bool words = true;
  // Text that may still change is reported each time so much audio has come; 0: never.
  double partial_seconds = 0;
  // Whisper.
  std::string language = {};  // code as "en"; empty: what the first window sounds like
  bool timestamps = true;     // false: one segment a window
  // A piece of sound that nowhere is as loud as this has no words, whatever a model makes of it:
  // root mean square of 20 ms, in dB of full scale; -200: every sound may have words.
  double silence_db = -55;
  SearchOptions search = {};  // others; `translate` also for Whisper
};

struct TranscribeEvents {
  std::function<void(const Segment&)> segment = {};
  // Text since the last segment; `seconds` of audio have been heard.
  std::function<void(double seconds, const std::string& text)> partial = {};
};

class Transcriber {
 public:
  // `pool` outlives it; the model itself is not kept. Throws rondo::Error.
  Transcriber(const SpeechModel& model, const TranscribeOptions& options, ThreadPool& pool);
  ~Transcriber();

  int sample_rate() const;  // of the audio that Run() takes
  uint64_t weight_bytes() const;
  // Reads `source` to its end; returns the seconds of audio in it.
  double Run(AudioSource& source, const TranscribeEvents& events);

  // What Transcriber does for one kind of model.
  class Method;

 private:
  std::unique_ptr<Method> method_;
};

}  // namespace rondo
