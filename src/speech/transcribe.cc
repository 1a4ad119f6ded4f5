#include "rondo/transcribe.h"

#include "rondo/error.h"
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

}  // namespace

Transcriber::Transcriber(const SpeechModel& model, const TranscribeOptions& options,
                         ThreadPool& pool) {
  if (!(options.partial_seconds >= 0 && options.partial_seconds <= 3600)) {
    throw Error({.function = "Transcriber",
                 .problem = std::to_string(options.partial_seconds),
                 .expected = "0 to 3600 seconds",
                 .file = {},
                 .field = "partial_seconds"});
  }
  if (model.config.whisper) CheckWhisperSearch(options.search);
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
