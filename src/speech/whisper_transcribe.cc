#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/strings.h"
#include "kernels/log_softmax.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "speech/decoder.h"
#include "speech/encoder.h"
#include "speech/sound_level.h"
#include "speech/transcribe_method.h"
#include "speech/whisper_segments.h"
#include "speech/whisper_tokens.h"
#include "speech/word_times.h"

namespace rondo {
namespace {

// OpenAI's: a window is silent where "no speech" is likely and the text is not.
constexpr double kNoSpeech = 0.6, kUnlikelyText = -1.0;
// Less at the end of a file holds no word.
constexpr int64_t kLeastSamples = WhisperFeatures::kSampleRate / 10;

struct WindowText {
  std::vector<int32_t> tokens;  // without the end token
  double mean_log_p = 0;
  double no_speech = 0;
};

int WindowSeconds(const SpeechModel& model) {
  const int frames = model.encoder.config.max_positions * model.config.Subsampling();
  return std::max(1, frames * WhisperFeatures::kHop / WhisperFeatures::kSampleRate);
}

class WhisperMethod : public Transcriber::Method {
 public:
  WhisperMethod(const SpeechModel& model, const TranscribeOptions& options, ThreadPool& pool)
      : options_(options),
        whisper_(*model.config.whisper),
        tokenizer_(LoadTokenizer(model.path)),
        tokens_(*tokenizer_, model.path),
        features_(model.config.front.mel_bins, WindowSeconds(model)),
        encoder_(model, options.type, pool),
        decoder_(model, options.type, pool),
        stream_(encoder_, {}) {
    CheckVocabulary(model);
    if (!options.language.empty()) told_language_ = LanguageToken(options.language, model.path);
    window_.reserve(static_cast<size_t>(features_.window_samples()));
    frames_.resize(static_cast<size_t>(features_.frames() * features_.bins()));
  }

  int sample_rate() const override { return WhisperFeatures::kSampleRate; }
  uint64_t weight_bytes() const override { return encoder_.bytes() + decoder_.bytes(); }

  double Run(AudioSource& source, const TranscribeEvents& events) override {
    window_.clear();
    at_ = 0;
    language_ = told_language_;
    int64_t heard = 0, reported = 0;
    bool ended = false;
    while (!ended || std::ssize(window_) >= kLeastSamples) {
      while (!ended && std::ssize(window_) < features_.window_samples()) {
        const auto before = window_.size();
        window_.resize(static_cast<size_t>(features_.window_samples()));
        const size_t count = source.Read(std::span(window_).subspan(before));
        window_.resize(before + count);
        ended = count == 0;
        heard += static_cast<int64_t>(count);
        if (ended || !Due(heard - reported, events) || !Loud()) continue;
        reported = heard;
        const int32_t language = language_;
        events.partial(Seconds(heard), Text(ReadWindow().tokens));
        language_ = language;  // whole windows decide about it
      }
      if (std::ssize(window_) >= kLeastSamples) FinishWindow(events);
    }
    return Seconds(heard);
  }

 private:
  static double Seconds(int64_t samples) {
    return static_cast<double>(samples) / WhisperFeatures::kSampleRate;
  }
  bool Due(int64_t samples, const TranscribeEvents& events) const {
    return events.partial && options_.partial_seconds > 0 &&
           Seconds(samples) >= options_.partial_seconds;
  }
  std::string Text(std::span<const int32_t> tokens) const {
    std::vector<int32_t> text;
    std::ranges::copy_if(tokens, std::back_inserter(text), [&](int32_t t) { return IsText(t); });
    return std::string(Trim(tokenizer_->Decode(text)));
  }

  void CheckVocabulary(const SpeechModel& model) const {
    const int vocab = model.decoder->config.vocab;
    if (tokens_.first_timestamp <= vocab && tokens_.begin < vocab) return;
    throw Error({.function = "Transcriber",
                 .problem = "a tokenizer of more than " + std::to_string(vocab) + " tokens",
                 .expected = "the model's own",
                 .file = model.path});
  }
  int32_t LanguageToken(const std::string& code, const std::string& file) const {
    if (!tokens_.multilingual() && code == "en") return -1;
    const int32_t token = tokenizer_->TokenId("<|" + code + "|>");
    if (token >= tokens_.first_language && token < tokens_.languages_end) return token;
    throw Error({.function = "Transcriber",
                 .problem = "language '" + code + "'",
                 .expected = tokens_.multilingual() ? "a code as en, de or fr" : "en",
                 .file = file});
  }

  // The window's samples as the decoder's memory.
  DecoderMemory Encode() {
    features_.Compute(window_, frames_);
    hidden_.clear();
    stream_.Reset();
    stream_.Push(frames_, &hidden_);
    stream_.Finish(&hidden_);
    return decoder_.Remember(hidden_);
  }

  int32_t DetectLanguage(const DecoderMemory& memory) const {
    DecoderText text = decoder_.Begin();
    const std::vector<float> logits = decoder_.Run(memory, text, {&tokens_.begin, 1});
    const auto best = std::max_element(logits.begin() + tokens_.first_language,
                                       logits.begin() + tokens_.languages_end);
    return static_cast<int32_t>(best - logits.begin());
  }

  std::vector<int32_t> Prompt(bool timestamps) const {
    std::vector<int32_t> prompt = {tokens_.begin};
    if (tokens_.multilingual()) {
      prompt.push_back(language_);
      prompt.push_back(options_.search.translate ? tokens_.translate : tokens_.transcribe);
    }
    if (!timestamps) prompt.push_back(tokens_.no_timestamps);
    return prompt;
  }

  WindowText ReadWindow() {
    memory_ = Encode();
    if (language_ < 0 && tokens_.multilingual()) language_ = DetectLanguage(*memory_);
    return Decode(*memory_);
  }

  // Greedy.
  WindowText Decode(const DecoderMemory& memory) const {
    const std::vector<int32_t> prompt = Prompt(options_.timestamps);
    WindowText result;
    DecoderText text = decoder_.Begin();
    std::vector<float> all = decoder_.Run(memory, text, prompt, true);
    const auto vocab = static_cast<size_t>(decoder_.config().vocab);
    if (tokens_.no_speech >= 0) {  // asked where the transcript begins
      std::span<float> first = std::span(all).first(vocab);
      LogSoftmax(first, static_cast<int64_t>(vocab));
      result.no_speech = std::exp(first[static_cast<size_t>(tokens_.no_speech)]);
    }
    std::vector<float> logits(all.end() - static_cast<int64_t>(vocab), all.end());
    const size_t limit = static_cast<size_t>(decoder_.config().max_positions) - prompt.size();
    double log_p = 0;
    while (true) {
      ApplyWhisperRules(tokens_, whisper_, result.tokens, options_.timestamps, logits);
      const auto best = std::ranges::max_element(logits) - logits.begin();
      LogSoftmax(logits, static_cast<int64_t>(vocab));
      log_p += logits[static_cast<size_t>(best)];
      const auto token = static_cast<int32_t>(best);
      if (token == tokens_.end) break;
      result.tokens.push_back(token);
      if (result.tokens.size() >= limit) break;
      logits = decoder_.Run(memory, text, {&token, 1});
    }
    result.mean_log_p = log_p / static_cast<double>(result.tokens.size() + 1);
    return result;
  }

  bool IsText(int32_t token) const { return token < tokens_.end; }

  // When the window's text tokens begin, and its last one ends: [text tokens + 1] seconds. Empty
  // where words are not wanted or the model cannot tell.
  std::vector<double> Times(std::span<const int32_t> tokens) const {
    if (!options_.words || whisper_.alignment_heads.empty()) return {};
    const std::vector<int32_t> prompt = Prompt(false);
    const size_t room = static_cast<size_t>(decoder_.config().max_positions) - prompt.size() - 1;
    std::vector<int32_t> text;
    std::ranges::copy_if(tokens, std::back_inserter(text), [&](int32_t t) { return IsText(t); });
    if (text.empty() || text.size() > room) return {};
    const int64_t samples_a_position = std::lround(WhisperFeatures::kSampleRate * kWhisperTick);
    const int64_t positions = std::min<int64_t>(
        memory_->length, (std::ssize(window_) + samples_a_position - 1) / samples_a_position);
    std::vector<double> times = TokenTimes(decoder_, *memory_,
                                           {.prompt = prompt,
                                            .text = text,
                                            .end_token = tokens_.end,
                                            .heads = whisper_.alignment_heads,
                                            .positions = positions,
                                            .seconds_per_position = kWhisperTick});
    for (double& time : times) time += Seconds(at_);
    return times;
  }

  // Whether there is anything in the window to hear.
  bool Loud() const {
    SoundLevel level(WhisperFeatures::kSampleRate);
    level.Push(window_);
    return level.Loudest() >= options_.silence_db;
  }

  // Reports the segments of the window and moves it on.
  void FinishWindow(const TranscribeEvents& events) {
    if (!Loud()) {
      at_ += std::ssize(window_);
      return window_.clear();
    }
    const WindowText read = ReadWindow();
    const double length = Seconds(std::ssize(window_));
    const bool silent = read.no_speech > kNoSpeech && read.mean_log_p < kUnlikelyText;
    const WindowSegments split = SplitSegments(tokens_, read.tokens, length);
    const std::vector<double> times = silent ? std::vector<double>() : Times(read.tokens);
    size_t told = 0;  // text tokens of earlier segments
    for (const TokenSpan& span : split.segments) {
      if (silent) break;
      const auto units = std::span(read.tokens).subspan(span.begin, span.end - span.begin);
      Segment segment{.begin = Seconds(at_) + span.begin_seconds,
                      .end = Seconds(at_) + std::min(span.end_seconds, length),
                      .text = Text(units),
                      .units = {units.begin(), units.end()},
                      .words = {}};
      std::vector<int32_t> text;
      std::ranges::copy_if(units, std::back_inserter(text), [&](int32_t t) { return IsText(t); });
      if (!times.empty()) {
        segment.words = WordsOf(*tokenizer_, text, std::span(times).subspan(told, text.size() + 1));
      }
      told += text.size();
      if (!segment.text.empty() && events.segment) events.segment(segment);
    }
    const int64_t done =
        silent ? std::ssize(window_) : std::lround(split.seconds * WhisperFeatures::kSampleRate);
    // Whatever the timestamps say, the window moves.
    const int64_t step = std::clamp<int64_t>(done, kLeastSamples, std::ssize(window_));
    window_.erase(window_.begin(), window_.begin() + step);
    at_ += step;
  }

  TranscribeOptions options_;
  WhisperConfig whisper_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  WhisperTokens tokens_;
  WhisperFeatures features_;
  SpeechEncoder encoder_;
  SpeechDecoder decoder_;
  EncoderStream stream_;
  int32_t told_language_ = -1;  // by the caller; -1: each audio's first window tells
  int32_t language_ = -1;       // of this audio, once it is known
  std::vector<float> window_;   // samples from at_ on
  int64_t at_ = 0;
  std::vector<float> frames_, hidden_;
  std::optional<DecoderMemory> memory_;  // of the window read last
};

}  // namespace

std::unique_ptr<Transcriber::Method> MakeWhisperMethod(const SpeechModel& model,
                                                       const TranscribeOptions& options,
                                                       ThreadPool& pool) {
  return std::make_unique<WhisperMethod>(model, options, pool);
}

}  // namespace rondo
