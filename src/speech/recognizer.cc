#include "rondo/recognizer.h"

#include <algorithm>
#include <utility>

#include "base/choice.h"
#include "rondo/error.h"
#include "speech/attention_search.h"
#include "speech/encoder.h"
#include "speech/heads.h"
#include "speech/transducer_search.h"

namespace rondo {
namespace {

constexpr std::array<std::string_view, 5> kSearchNames = {"auto", "ctc", "transducer", "attention",
                                                          "joint"};
constexpr double kFrameSeconds = 0.01;

[[noreturn]] void Fail(std::string problem, std::string expected) {
  throw Error({.function = "Recognizer",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = "search"});
}

}  // namespace

std::string_view Name(SearchKind kind) { return ChoiceName(kSearchNames, kind); }

SearchKind SearchKindFromName(std::string_view name) {
  return ChoiceFromName<SearchKind>(kSearchNames, name, "SearchKindFromName");
}

Recognizer::Recognizer(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool)
    : units_(LoadSpeechUnits(model)),
      encoder_(std::make_unique<SpeechEncoder>(model, type, pool)),
      heads_(std::make_unique<SpeechHeads>(model, type, pool)) {
  if (model.decoder) decoder_ = std::make_unique<SpeechDecoder>(model, type, pool);
}

Recognizer::~Recognizer() = default;

const SpeechConfig& Recognizer::config() const { return encoder_->speech(); }

double Recognizer::SecondsPerPosition() const { return kFrameSeconds * config().Subsampling(); }

uint64_t Recognizer::bytes() const {
  return encoder_->bytes() + heads_->bytes() + (decoder_ ? decoder_->bytes() : 0);
}

SearchKind Recognizer::Resolve(const SearchOptions& options) const {
  SearchKind kind = options.kind;
  if (options.translate && decoder_ == nullptr) {
    throw Error({.function = "Recognizer",
                 .problem = "the model has no decoder, which writes translations",
                 .expected = "Whisper, or a model that was trained with task = \"both\"",
                 .file = {},
                 .field = "translate"});
  }
  if (kind == SearchKind::kAuto) {
    const bool spoken = !options.translate;
    kind = spoken && heads_->has_transducer() ? SearchKind::kTransducer
           : spoken && heads_->has_ctc()      ? SearchKind::kCtc
                                              : SearchKind::kAttention;
  }
  const bool decoder = kind == SearchKind::kAttention || kind == SearchKind::kJoint;
  const bool ctc = kind == SearchKind::kCtc || kind == SearchKind::kJoint;
  if (decoder && decoder_ == nullptr) Fail("the model has no attention decoder", "another search");
  if (ctc && !heads_->has_ctc()) Fail("the model has no CTC head", "another search");
  if (kind == SearchKind::kTransducer && !heads_->has_transducer()) {
    Fail("the model has no transducer", "another search");
  }
  if (options.translate && kind != SearchKind::kAttention) {
    Fail(std::string(Name(kind)) + " cannot translate", "attention");
  }
  if (options.beam < 1) Fail("beam " + std::to_string(options.beam), "1 or more");
  return kind;
}

Recognition Recognizer::Search(std::span<const float> hidden, const SearchOptions& options) const {
  const SearchKind kind = Resolve(options);
  std::vector<Prefix> best;
  if (kind == SearchKind::kTransducer) {
    TransducerSearch search(*heads_, options.beam, options.max_units_at_once);
    search.Push(hidden);
    best = search.Best();
  } else if (kind == SearchKind::kAttention) {
    const int32_t first = options.translate ? kTranslateUnit : kTranscribeUnit;
    best = {SearchAttention(*decoder_, decoder_->Remember(hidden), first, options)};
  } else {
    CtcSearch search(options.beam, heads_->units());
    search.Push(heads_->Ctc(hidden));
    best = search.Best();
  }
  if (kind == SearchKind::kJoint) {
    const DecoderMemory memory = decoder_->Remember(hidden);
    for (Prefix& prefix : best) {
      const double decoded = ScoreText(*decoder_, memory, kTranscribeUnit, prefix.units);
      prefix.log_p = options.ctc_weight * prefix.log_p + (1 - options.ctc_weight) * decoded;
    }
    std::ranges::stable_sort(best, std::greater<>(), &Prefix::log_p);
  }
  Prefix& first = best.front();
  return {.text = units_->Decode(first.units),
          .units = std::move(first.units),
          .positions = std::move(first.positions),
          .log_p = first.log_p};
}

Recognition Recognizer::Recognize(std::span<const float> features,
                                  const SearchOptions& options) const {
  const AttentionContext context = options.context.value_or(config().attention);
  Resolve(options);
  const auto frames = static_cast<double>(features.size()) / config().front.mel_bins;
  if (features.empty()) return {};
  Recognition result = Search(encoder_->Run(features, context), options);
  result.audio_seconds = frames * kFrameSeconds;
  return result;
}

struct RecognizerStream::State {
  State(const Recognizer& r, const SearchOptions& options, SearchKind k)
      : recognizer(r),
        kind(k),
        encoder(r.encoder(), options.context.value_or(r.config().attention)),
        ctc(options.beam, r.heads().units()) {
    if (kind == SearchKind::kTransducer) {
      transducer.emplace(r.heads(), options.beam, options.max_units_at_once);
    }
  }

  void Search() {
    if (kind == SearchKind::kTransducer) {
      transducer->Push(hidden);
    } else {
      ctc.Push(recognizer.heads().Ctc(hidden));
    }
    hidden.clear();
  }

  const Recognizer& recognizer;
  SearchKind kind;
  EncoderStream encoder;
  CtcSearch ctc;
  std::optional<TransducerSearch> transducer;
  std::vector<float> hidden;
  int64_t frames = 0;
};

RecognizerStream::RecognizerStream(const Recognizer& recognizer, const SearchOptions& options) {
  const SearchKind kind = recognizer.Resolve(options);
  if (kind != SearchKind::kCtc && kind != SearchKind::kTransducer) {
    Fail(std::string(Name(kind)) + " on a stream", "ctc or transducer");
  }
  state_ = std::make_unique<State>(recognizer, options, kind);
}

RecognizerStream::~RecognizerStream() = default;

void RecognizerStream::Push(std::span<const float> features) {
  state_->frames +=
      static_cast<int64_t>(features.size()) / state_->recognizer.config().front.mel_bins;
  state_->encoder.Push(features, &state_->hidden);
  state_->Search();
}

void RecognizerStream::Finish() {
  state_->encoder.Finish(&state_->hidden);
  state_->Search();
}

Recognition RecognizerStream::Result() const {
  std::vector<Prefix> best = state_->transducer ? state_->transducer->Best() : state_->ctc.Best();
  Prefix& first = best.front();
  return {.text = state_->recognizer.units().Decode(first.units),
          .units = std::move(first.units),
          .positions = std::move(first.positions),
          .log_p = first.log_p,
          .audio_seconds = static_cast<double>(state_->frames) * kFrameSeconds};
}

void RecognizerStream::Reset() {
  state_->encoder.Reset();
  state_->ctc.Reset();
  if (state_->transducer) state_->transducer->Reset();
  state_->hidden.clear();
  state_->frames = 0;
}

uint64_t RecognizerStream::bytes() const { return state_->encoder.bytes(); }

}  // namespace rondo
