#include "rondo/recognizer.h"

#include <algorithm>
#include <utility>

#include "rondo/error.h"
#include "speech/attention_search.h"
#include "speech/encoder.h"
#include "speech/heads.h"
#include "speech/speech_names.h"
#include "speech/transducer_search.h"

namespace rondo {
namespace {

constexpr double kFrameSeconds = 0.01;

[[noreturn]] void Fail(std::string problem, std::string expected) {
  throw Error({.function = "Recognizer",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = "search"});
}

}  // namespace

std::string_view Name(SearchKind kind) { return ChoiceName(kind); }

SearchKind SearchKindFromName(std::string_view name) {
  return ChoiceFromName<SearchKind>(name, "SearchKindFromName");
}

struct Recognizer::Impl {
  Impl(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool)
      : units(LoadSpeechUnits(model)), encoder(model, type, pool), heads(model, type, pool) {
    if (model.decoder) decoder.emplace(model, type, pool);
  }

  Recognition Search(std::span<const float> hidden, SearchKind kind,
                     const SearchOptions& options) const;

  std::shared_ptr<const SpeechUnits> units;
  SpeechEncoder encoder;
  SpeechHeads heads;
  std::optional<SpeechDecoder> decoder;
};

Recognizer::Recognizer(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(model, type, pool)) {}

Recognizer::~Recognizer() = default;

const SpeechConfig& Recognizer::config() const { return impl_->encoder.speech(); }

const SpeechUnits& Recognizer::units() const { return *impl_->units; }

double Recognizer::SecondsPerPosition() const { return kFrameSeconds * config().Subsampling(); }

uint64_t Recognizer::bytes() const {
  return impl_->encoder.bytes() + impl_->heads.bytes() +
         (impl_->decoder ? impl_->decoder->bytes() : 0);
}

SearchKind Recognizer::Resolve(const SearchOptions& options) const {
  const SpeechHeads& heads = impl_->heads;
  SearchKind kind = options.kind;
  if (options.translate && !impl_->decoder) {
    throw Error({.function = "Recognizer",
                 .problem = "the model has no decoder, which writes translations",
                 .expected = "Whisper, or a model that was trained with task = \"both\"",
                 .file = {},
                 .field = "translate"});
  }
  if (kind == SearchKind::kAuto) {
    const bool spoken = !options.translate;
    kind = spoken && heads.has_transducer() ? SearchKind::kTransducer
           : spoken && heads.has_ctc()      ? SearchKind::kCtc
                                            : SearchKind::kAttention;
  }
  const bool decoder = kind == SearchKind::kAttention || kind == SearchKind::kJoint;
  const bool ctc = kind == SearchKind::kCtc || kind == SearchKind::kJoint;
  if (decoder && !impl_->decoder) Fail("the model has no attention decoder", "another search");
  if (ctc && !heads.has_ctc()) Fail("the model has no CTC head", "another search");
  if (kind == SearchKind::kTransducer && !heads.has_transducer()) {
    Fail("the model has no transducer", "another search");
  }
  if (options.translate && kind != SearchKind::kAttention) {
    Fail(std::string(Name(kind)) + " cannot translate", "attention");
  }
  if (options.beam < 1) Fail("beam " + std::to_string(options.beam), "1 or more");
  return kind;
}

Recognition Recognizer::Impl::Search(std::span<const float> hidden, SearchKind kind,
                                     const SearchOptions& options) const {
  std::vector<Prefix> best;
  if (kind == SearchKind::kTransducer) {
    TransducerSearch search(heads, options.beam, options.max_units_at_once);
    search.Push(hidden);
    best = search.Best();
  } else if (kind == SearchKind::kAttention) {
    const int32_t first = options.translate ? kTranslateUnit : kTranscribeUnit;
    best = {SearchAttention(*decoder, decoder->Remember(hidden), first, options)};
  } else {
    CtcSearch search(options.beam, heads.units());
    search.Push(heads.Ctc(hidden));
    best = search.Best();
  }
  if (kind == SearchKind::kJoint) {
    const DecoderMemory memory = decoder->Remember(hidden);
    for (Prefix& prefix : best) {
      const double decoded = ScoreText(*decoder, memory, kTranscribeUnit, prefix.units);
      prefix.log_p = options.ctc_weight * prefix.log_p + (1 - options.ctc_weight) * decoded;
    }
    std::ranges::stable_sort(best, std::greater<>(), &Prefix::log_p);
  }
  Prefix& first = best.front();
  return {.text = units->Decode(first.units),
          .units = std::move(first.units),
          .positions = std::move(first.positions),
          .log_p = first.log_p};
}

Recognition Recognizer::Recognize(std::span<const float> features,
                                  const SearchOptions& options) const {
  const AttentionContext context = options.context.value_or(config().attention);
  const SearchKind kind = Resolve(options);
  const auto frames = static_cast<double>(features.size()) / config().front.mel_bins;
  if (features.empty()) return {};
  Recognition result = impl_->Search(impl_->encoder.Run(features, context), kind, options);
  result.audio_seconds = frames * kFrameSeconds;
  return result;
}

struct RecognizerStream::State {
  State(const Recognizer::Impl& r, const SearchOptions& options, SearchKind k)
      : recognizer(r),
        kind(k),
        encoder(r.encoder, options.context.value_or(r.encoder.speech().attention)),
        ctc(options.beam, r.heads.units()) {
    if (kind == SearchKind::kTransducer) {
      transducer.emplace(r.heads, options.beam, options.max_units_at_once);
    }
  }

  void Search() {
    if (kind == SearchKind::kTransducer) {
      transducer->Push(hidden);
    } else {
      ctc.Push(recognizer.heads.Ctc(hidden));
    }
    hidden.clear();
  }

  const Recognizer::Impl& recognizer;
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
  state_ = std::make_unique<State>(*recognizer.impl_, options, kind);
}

RecognizerStream::~RecognizerStream() = default;

void RecognizerStream::Push(std::span<const float> features) {
  state_->frames +=
      static_cast<int64_t>(features.size()) / state_->recognizer.encoder.speech().front.mel_bins;
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
  return {.text = state_->recognizer.units->Decode(first.units),
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
