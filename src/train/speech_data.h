// What speech models are trained on: utterances in memory as features and units, drawn as batches
// of about one length.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "rondo/audio.h"
#include "rondo/audio_features.h"
#include "rondo/speech_units.h"
#include "train/speech_section.h"
#include "train/torch.h"

namespace rondo {

class ThreadPool;

// Manifests as the recipe divides them.
struct SpeechSets {
  std::vector<Utterance> train, valid;
};
SpeechSets ReadSpeechSets(const SpeechSection& speech, const std::string& file);

struct SpeechExample {
  Utterance utterance;
  std::vector<Features> speeds;  // one for each factor of speed; not normalised
  std::vector<int32_t> units, translation;
  double seconds = 0;
  int64_t frames() const { return speeds.front().frames(); }
};

// Decodes and analyses all utterances, several at once. Those too short for a single frame are left
// out. `units` may be null.
std::vector<SpeechExample> LoadExamples(std::span<const Utterance> utterances,
                                        const FbankOptions& fbank, std::span<const double> speeds,
                                        const SpeechUnits* units, ThreadPool& pool, bool quiet);

// Features of a batch, normalised and masked, zeros beyond each utterance's end.
struct SpeechBatch {
  at::Tensor features;           // [rows, mel_bins, frames]
  std::vector<int64_t> lengths;  // frames of each row
  std::vector<const SpeechExample*> examples;
  double seconds = 0;
};

// The order of batches: utterances of about one length together, as many as `batch_frames` holds,
// padding included; batches in an order of each epoch's own. A function of its arguments.
std::vector<std::vector<int>> BatchesOfEpoch(std::span<const SpeechExample> examples,
                                             int64_t batch_frames, uint64_t seed, int64_t epoch);

SpeechBatch MakeBatch(std::span<const SpeechExample> examples, std::span<const int> rows,
                      const GlobalCmvn& cmvn, const SpecAugmentOptions& masks, uint64_t seed,
                      ThreadPool& pool);

}  // namespace rondo
