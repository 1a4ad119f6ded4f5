// Audio to the features that a speech model reads.
#pragma once

#include "rondo/audio_features.h"
#include "rondo/speech_model.h"

namespace rondo {

// Kaldi's features as the front end says: frames of 25 ms each 10 ms, within the signal.
inline FbankOptions FbankOf(const FrontEnd& front) {
  return {.sample_rate = front.sample_rate, .mel_bins = front.mel_bins, .energy_floor = 1.0f};
}

}  // namespace rondo
