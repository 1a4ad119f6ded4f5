// Speech of many utterances in windows of one length, one utterance behind the other: what encoders
// are calibrated on, and what those that read fixed windows (Whisper) are trained on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rondo/audio.h"
#include "rondo/audio_features.h"
#include "rondo/speech_model.h"
#include "speech/manifest.h"

namespace rondo {

class SpeechWindows {
 public:
  // Windows are as long as the model's positions, and 10 s where that is more and the model does
  // not read fixed windows. `speed` as in ChangeSpeed.
  SpeechWindows(const SpeechModel& model, std::vector<Utterance> utterances, double speed = 1);

  // Features of the next window, not normalised; without values when less than a window is left.
  Features Next();
  double seconds() const { return static_cast<double>(samples_) / front_.sample_rate; }

 private:
  FrontEnd front_;
  std::vector<Utterance> utterances_;
  double speed_;
  AudioStore store_;
  bool whisper_ = false;
  int64_t samples_ = 0;  // of a window
  std::vector<float> held_;
  size_t next_ = 0;
};

}  // namespace rondo
