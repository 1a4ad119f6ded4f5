#include "train/speech/speech_data.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "base/glob.h"
#include "base/hash.h"
#include "base/progress.h"
#include "base/rng.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "speech/windows.h"

namespace rondo {
namespace {

// Batches are padded to a multiple of so many frames: matrix libraries generate code for every size
// they meet, and lengths as they come would hardly ever repeat.
constexpr int64_t kFramesStep = 32;

int64_t PaddedFrames(int64_t frames, const BatchShape& shape) {
  const int64_t padded = (frames + kFramesStep - 1) / kFramesStep * kFramesStep;
  return std::max(frames, std::min(padded, shape.most_frames));
}

bool Matches(std::span<const std::string> patterns, const std::string& id) {
  return std::ranges::any_of(patterns, [&](const std::string& p) { return GlobMatch(p, id); });
}

[[noreturn]] void Fail(const std::string& file, const char* field, std::string problem,
                       const char* expected) {
  throw Error({.function = "ReadSpeechSets",
               .problem = std::move(problem),
               .expected = expected,
               .file = file,
               .field = field});
}

// A translation that is not there would be learned as an empty one; nobody saying anything is a
// transcript, but not everybody's.
void CheckTexts(std::span<const Utterance> utterances, const SpeechSection& speech,
                const std::string& manifest) {
  for (const Utterance& u : utterances) {
    if (speech.task == SpeechTask::kTranscribe || !u.translation.empty()) continue;
    Fail(manifest, "translation", "utterance '" + u.id + "' has none", "one of every utterance");
  }
  const bool transcripts =
      speech.task != SpeechTask::kTranslate || speech.ctc > 0 || speech.transducer > 0;
  if (!transcripts || utterances.empty()) return;
  if (std::ranges::all_of(utterances, [](const Utterance& u) { return u.text.empty(); })) {
    Fail(manifest, "text", "no utterance has one", "transcripts");
  }
}

template <typename T>
void Shuffle(std::vector<T>& items, Rng& rng) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.Next() % i]);
}

}  // namespace

SpeechSets ReadSpeechSets(const SpeechSection& speech, const std::string& file) {
  if (speech.train.empty()) Fail(file, "speech.train", "no manifest", "utterances to train on");
  SpeechSets sets;
  for (Utterance& utterance : ReadManifest(speech.train, speech.audio)) {
    const bool held = Matches(speech.held_out, utterance.id);
    if (!held)
      sets.train.push_back(std::move(utterance));
    else if (speech.valid.empty())
      sets.valid.push_back(std::move(utterance));
  }
  if (!speech.valid.empty()) sets.valid = ReadManifest(speech.valid, speech.valid_audio);
  CheckTexts(sets.train, speech, speech.train);
  CheckTexts(sets.valid, speech, speech.valid.empty() ? speech.train : speech.valid);
  if (sets.train.empty()) {
    Fail(file, "speech.held_out", "patterns that match every utterance", "some left to train on");
  }
  return sets;
}

std::vector<SpeechExample> LoadExamples(std::span<const Utterance> utterances,
                                        const FbankOptions& options, std::span<const double> speeds,
                                        const SpeechUnits* units, ThreadPool& pool, bool quiet) {
  const Fbank fbank(options);
  AudioStore store;
  std::vector<SpeechExample> examples(utterances.size());
  Progress progress("reading audio", static_cast<int64_t>(utterances.size()), quiet);
  pool.ParallelFor(static_cast<int64_t>(utterances.size()), [&](int64_t i) {
    const Utterance& utterance = utterances[static_cast<size_t>(i)];
    SpeechExample& example = examples[static_cast<size_t>(i)];
    example.utterance = utterance;
    const AudioClip clip = store.Read(utterance.audio, options.sample_rate);
    example.seconds = clip.seconds();
    for (const double speed : speeds) {
      example.speeds.push_back(
          fbank.Compute(speed == 1 ? clip.samples : ChangeSpeed(clip.samples, speed)));
    }
    if (units != nullptr) {
      example.units = units->Encode(utterance.text);
      example.translation = units->Encode(utterance.translation);
    }
    progress.Add();
  });
  std::erase_if(examples, [](const SpeechExample& e) {
    return std::ranges::any_of(e.speeds, [](const Features& f) { return f.frames() == 0; });
  });
  return examples;
}

std::vector<SpeechExample> LoadWindows(const SpeechModel& model,
                                       std::span<const Utterance> utterances,
                                       std::span<const double> speeds, bool quiet) {
  std::vector<SpeechExample> examples;
  Progress progress("reading audio", std::ssize(speeds), quiet);
  for (const double speed : speeds) {
    SpeechWindows windows(model, {utterances.begin(), utterances.end()}, speed);
    while (true) {
      Features features = windows.Next();
      if (features.values.empty()) break;
      SpeechExample& example = examples.emplace_back();
      example.utterance.id = "window " + std::to_string(examples.size());
      example.seconds = windows.seconds();
      example.speeds.push_back(std::move(features));
    }
    progress.Add();
  }
  return examples;
}

std::vector<std::vector<int>> BatchesOfEpoch(std::span<const SpeechExample> examples,
                                             const BatchShape& shape, uint64_t seed,
                                             int64_t epoch) {
  Rng rng(CombineHash(seed, static_cast<uint64_t>(epoch)));
  std::vector<double> keys;
  for (const SpeechExample& example : examples) {
    keys.push_back(static_cast<double>(example.frames()) * (1 + 0.1 * rng.Uniform()));
  }
  std::vector<int> order(examples.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int i) { return keys[static_cast<size_t>(i)]; });
  std::vector<std::vector<int>> batches;
  int64_t longest = 0;
  for (const int i : order) {
    longest = std::max(longest, examples[static_cast<size_t>(i)].frames());
    const auto rows = static_cast<int64_t>(batches.empty() ? 0 : batches.back().size());
    if (batches.empty() || (rows + 1) * PaddedFrames(longest, shape) > shape.batch_frames) {
      batches.emplace_back();
      longest = examples[static_cast<size_t>(i)].frames();
    }
    batches.back().push_back(i);
  }
  Shuffle(batches, rng);
  return batches;
}

SpeechBatch MakeBatch(std::span<const SpeechExample> examples, std::span<const int> rows,
                      const BatchShape& shape, const GlobalCmvn& cmvn,
                      const SpecAugmentOptions& masks, uint64_t seed, ThreadPool& pool) {
  SpeechBatch batch;
  std::vector<Features> features(rows.size());
  pool.ParallelFor(static_cast<int64_t>(rows.size()), [&](int64_t r) {
    const auto row = static_cast<size_t>(r);
    const SpeechExample& example = examples[static_cast<size_t>(rows[row])];
    const uint64_t key = CombineHash(seed, static_cast<uint64_t>(rows[row]));
    features[row] = example.speeds[key % example.speeds.size()];
    if (!cmvn.shift.empty()) cmvn.Apply(&features[row]);
    SpecAugment(masks, key, &features[row]);
  });
  int64_t longest = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    const SpeechExample& example = examples[static_cast<size_t>(rows[row])];
    batch.lengths.push_back(features[row].frames());
    batch.examples.push_back(&example);
    batch.seconds += example.seconds;
    longest = std::max(longest, features[row].frames());
  }
  longest = PaddedFrames(longest, shape);
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t bins = features.front().bins;
  at::Tensor padded = at::zeros({count, longest, bins}, at::kFloat);
  for (int64_t row = 0; row < count; ++row) {
    const std::vector<float>& values = features[static_cast<size_t>(row)].values;
    std::copy(values.begin(), values.end(),
              padded.mutable_data_ptr<float>() + row * longest * bins);
  }
  batch.features = padded.transpose(1, 2).contiguous();
  return batch;
}

}  // namespace rondo
