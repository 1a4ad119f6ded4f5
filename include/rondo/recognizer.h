// Text from features, with a speech model of any head.
//
//   ThreadPool pool;
//   Recognizer recognizer(LoadSpeechModel("models/digits"), {}, pool);
//   Recognition r = recognizer.Recognize(features, {});             // features [frames, mel_bins]
//
//   RecognizerStream stream(recognizer, {});                        // CTC and transducer
//   stream.Push(features);                                          // as many frames as there are
//   std::cout << stream.Result().text;                              // so far; the end may change
//   stream.Finish();
//   std::cout << stream.Result().text;                              // as Recognize gives it
//
// Features are those of the model's front end (audio_features.h), not normalised. A Recognizer is
// immutable and may be used by any number of threads; a stream belongs to one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/speech_model.h"
#include "rondo/speech_units.h"
#include "rondo/thread_pool.h"

namespace rondo {

enum class SearchKind {
  kAuto,  // the first that the model has of transducer, CTC, attention
  kCtc,   // CTC with a prefix beam (Hannun et al. 2014); beam 1 takes the best unit everywhere
  kTransducer,  // transducer with a beam of prefixes; beam 1 is greedy
  kAttention,   // attention decoder with a beam
  kJoint,       // CTC's best texts, ordered anew with the attention decoder (Zhang et al. 2020)
};
std::string_view Name(SearchKind kind);  // auto, ctc, transducer, attention, joint
SearchKind SearchKindFromName(std::string_view name);

struct SearchOptions {
  SearchKind kind = SearchKind::kAuto;
  int beam = 1;
  double ctc_weight = 0.5;    // of kJoint; the decoder has the rest
  bool translate = false;     // the decoder's other task
  double length_bonus = 0;    // a unit, in nats, of kAttention
  int max_units = 400;        // of kAttention
  int max_units_at_once = 8;  // that a transducer writes at one position
  // Context of attention; nullopt: the model's.
  std::optional<AttentionContext> context = {};
};

struct Recognition {
  std::string text = {};
  std::vector<int32_t> units = {};
  // Of the encoder, where each unit was written; empty for kAttention.
  std::vector<int64_t> positions = {};
  double log_p = 0;          // nats, of the search
  double audio_seconds = 0;  // of the features
};

class Recognizer {
 public:
  // `type` as in EngineOptions; `pool` outlives the recognizer. Throws rondo::Error.
  Recognizer(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool);
  ~Recognizer();
  Recognizer(const Recognizer&) = delete;
  Recognizer& operator=(const Recognizer&) = delete;

  // Throws for a search that the model has no head for.
  Recognition Recognize(std::span<const float> features, const SearchOptions& options) const;

  const SpeechConfig& config() const;
  const SpeechUnits& units() const;
  // Seconds between two positions of the encoder.
  double SecondsPerPosition() const;
  uint64_t bytes() const;  // of packed weights
  // kAuto resolved; throws as Recognize does.
  SearchKind Resolve(const SearchOptions& options) const;

 private:
  friend class RecognizerStream;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class RecognizerStream {
 public:
  // `recognizer` outlives it. Throws for searches that cannot run on a stream.
  RecognizerStream(const Recognizer& recognizer, const SearchOptions& options);
  ~RecognizerStream();
  RecognizerStream(const RecognizerStream&) = delete;
  RecognizerStream& operator=(const RecognizerStream&) = delete;

  void Push(std::span<const float> features);
  void Finish();
  // Of what was pushed: every complete chunk of it.
  Recognition Result() const;
  void Reset();  // another utterance
  uint64_t bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rondo
