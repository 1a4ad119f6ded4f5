#include "rondo/transcribe.h"

#include <utility>

#include "rondo/error.h"
#include "speech/sound_level.h"
#include "speech/transcribe_method.h"

namespace rondo {
namespace {

// Whisper has one way of reading: greedily, with full context.
void CheckWhisperSearch(const SearchOptions& search) {
  const auto refuse = [](const char* field, const char* expected) {
    throw Error({.function = "Transcriber",
                 .problem = "Whisper reads greedily, in windows of 30 seconds",
                 .expected = expected,
                 .field = field});
  };
  if (search.kind != SearchKind::kAuto) refuse("search", "auto");
  if (search.beam != 1) refuse("beam", "1");
  if (search.context) refuse("chunk", "none");
}

void CheckOptions(const SpeechModel& model, const TranscribeOptions& options) {
  const auto refuse = [](std::string problem, const char* expected, const char* field) {
    throw Error({.function = "Transcriber",
                 .problem = std::move(problem),
                 .expected = expected,
                 .file = {},
                 .field = field});
  };
  if (!(options.partial_seconds >= 0 && options.partial_seconds <= 3600)) {
    refuse(std::to_string(options.partial_seconds), "0 to 3600 seconds", "partial_seconds");
  }
  if (!(options.silence_db >= SoundLevel::kLowest && options.silence_db <= 0)) {
    refuse(std::to_string(options.silence_db), "-200 to 0 dB", "silence");
  }
  if (model.config.whisper) return CheckWhisperSearch(options.search);
  if (!options.language.empty()) {
    refuse("only Whisper is told the language", "none for this model", "language");
  }
}

}  // namespace

Transcriber::Transcriber(const SpeechModel& model, const TranscribeOptions& options,
                         ThreadPool& pool) {
  CheckOptions(model, options);
  method_ = model.config.whisper ? MakeWhisperMethod(model, options, pool)
                                 : MakeRecognizerMethod(model, options, pool);
}

Transcriber::~Transcriber() = default;

int Transcriber::sample_rate() const { return method_->sample_rate(); }

uint64_t Transcriber::weight_bytes() const { return method_->weight_bytes(); }

double Transcriber::Run(AudioSource& source, const TranscribeEvents& events) {
  if (source.sample_rate() != sample_rate()) {
    throw Error({.function = "Transcriber::Run",
                 .problem = "audio at " + std::to_string(source.sample_rate()) + " Hz",
                 .expected = std::to_string(sample_rate())});
  }
  return method_->Run(source, events);
}

}  // namespace rondo
