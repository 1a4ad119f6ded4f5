// How a Transcriber reads one kind of model.
#pragma once

#include <memory>

#include "rondo/thread_pool.h"
#include "rondo/transcribe.h"

namespace rondo {

class Transcriber::Method {
 public:
  virtual ~Method() = default;
  virtual int sample_rate() const = 0;
  virtual uint64_t weight_bytes() const = 0;
  virtual double Run(AudioSource& source, const TranscribeEvents& events) = 0;
};

std::unique_ptr<Transcriber::Method> MakeWhisperMethod(const SpeechModel& model,
                                                       const TranscribeOptions& options,
                                                       ThreadPool& pool);
// Models with heads of their own.
std::unique_ptr<Transcriber::Method> MakeRecognizerMethod(const SpeechModel& model,
                                                          const TranscribeOptions& options,
                                                          ThreadPool& pool);

}  // namespace rondo
