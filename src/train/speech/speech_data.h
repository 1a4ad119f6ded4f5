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
#include "rondo/speech_model.h"
#include "rondo/speech_units.h"
#include "speech/manifest.h"
#include "train/model/torch.h"
#include "train/recipe/speech_section.h"

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

// The same of a model that reads windows of one length (Whisper): utterances one behind the other
// make a window, which has no text. What is left at the end is not used.
std::vector<SpeechExample> LoadWindows(const SpeechModel& model,
                                       std::span<const Utterance> utterances,
                                       std::span<const double> speeds, bool quiet);

// Features of a batch, normalised and masked, zeros beyond each utterance's end.
struct SpeechBatch {
  at::Tensor features;           // [rows, mel_bins, frames]
  std::vector<int64_t> lengths;  // frames of each row
  std::vector<const SpeechExample*> examples;
  double seconds = 0;
};

// How utterances become batches.
struct BatchShape {
  int64_t batch_frames = 0;  // that a batch holds, padding included
  int64_t most_frames = 0;   // that the model reads at once: nothing is padded beyond it
};

// The order of batches: utterances of about one length together, as many as one holds; batches in
// an order of each epoch's own. A function of its arguments.
std::vector<std::vector<int>> BatchesOfEpoch(std::span<const SpeechExample> examples,
                                             const BatchShape& shape, uint64_t seed, int64_t epoch);

// `cmvn` without bins leaves features as they are.
SpeechBatch MakeBatch(std::span<const SpeechExample> examples, std::span<const int> rows,
                      const BatchShape& shape, const GlobalCmvn& cmvn,
                      const SpecAugmentOptions& masks, uint64_t seed, ThreadPool& pool);

}  // namespace rondo
