// Ends reading of sound when the user asks for it.
//
//   StopRequest stop;                       // the first SIGINT or SIGTERM asks; a second one kills
//   auto source = OpenPipe(0, "standard input", rate, rate, stop.descriptor());
//   auto other = stop.Until(AudioStore().Open("talk.wav", rate));
//
// What was heard so far comes to its end as if the sound had ended.
#pragma once

#include <atomic>
#include <memory>

#include "base/signals.h"
#include "rondo/audio.h"

namespace rondo::cli {

class StopRequest {
 public:
  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  bool asked() const { return asked_; }
  int descriptor() const { return descriptor_; }  // can be read from once it was asked
  // A source that ends once it was asked; this outlives it.
  std::unique_ptr<AudioSource> Until(std::unique_ptr<AudioSource> source) const;

 private:
  void Ask();
  int descriptor_;
  std::atomic<bool> asked_ = false;
  InterruptScope scope_;
};

}  // namespace rondo::cli
