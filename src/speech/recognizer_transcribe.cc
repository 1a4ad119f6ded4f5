#include <algorithm>
#include <cmath>
#include <utility>

#include "base/strings.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"
#include "speech/features.h"
#include "speech/sound_level.h"
#include "speech/transcribe_method.h"

namespace rondo {
namespace {

// Nothing said for so long ends a segment; so does its length.
constexpr double kPause = 1.0, kLongest = 60.0;
// A model whose context is the whole utterance, or that cannot stream, gets pieces of this length.
constexpr double kPiece = 30.0;
constexpr size_t kBlock = 1600;

// Characters or pieces with the positions at which they were written, as words.
std::vector<Word> WordsOfUnits(const SpeechUnits& units, const Recognition& r, double begin,
                               double seconds_per_position) {
  std::vector<Word> words;
  if (r.positions.size() != r.units.size()) return words;
  size_t letters = 0;  // of the text so far
  for (size_t i = 0; i < r.units.size(); ++i) {
    const std::string text = units.Decode(std::span(r.units).first(i + 1));
    const double at = begin + static_cast<double>(r.positions[i]) * seconds_per_position;
    if (text.size() <= letters) continue;  // a space, which the next unit brings along
    std::string_view added = std::string_view(text).substr(letters);
    if (words.empty() || added.front() == ' ') {
      if (added.front() == ' ') added.remove_prefix(1);
      words.push_back({.text = {}, .begin = at, .end = at});
    }
    words.back().text += added;
    words.back().end = at + seconds_per_position;
    letters = text.size();
  }
  return words;
}

class RecognizerMethod : public Transcriber::Method {
 public:
  RecognizerMethod(const SpeechModel& model, const TranscribeOptions& options, ThreadPool& pool)
      : options_(options),
        recognizer_(model, options.type, pool),
        fbank_(FbankOf(model.config.front)),
        level_(model.config.front.sample_rate),
        kind_(recognizer_.Resolve(options.search)) {
    const AttentionContext context = options.search.context.value_or(model.config.attention);
    const bool decoder = kind_ == SearchKind::kAttention || kind_ == SearchKind::kJoint;
    whole_ = decoder || context.chunk == 0;
    if (!decoder) stream_ = std::make_unique<RecognizerStream>(recognizer_, options.search);
  }

  int sample_rate() const override { return fbank_.options().sample_rate; }
  uint64_t weight_bytes() const override { return recognizer_.bytes(); }

  double Run(AudioSource& source, const TranscribeEvents& events) override {
    std::vector<float> block(kBlock);
    int64_t heard = 0, reported = 0;
    begin_ = 0;
    // An error may have ended the run before.
    utterance_.clear();
    if (stream_ != nullptr) stream_->Reset();
    level_.Reset();
    FbankStream frames(fbank_);
    while (const size_t count = Fill(source, block)) {
      heard += static_cast<int64_t>(count);
      features_.values.clear();
      level_.Push(std::span(block).first(count));
      frames.Push(std::span(block).first(count), &features_);
      Push(features_.values);
      if (End(Seconds(heard))) {
        Finish(Seconds(heard), frames, events);
      } else if (Due(heard - reported, events)) {
        reported = heard;
        events.partial(Seconds(heard), stream_->Result().text);
      }
    }
    Finish(Seconds(heard), frames, events);
    return Seconds(heard);
  }

 private:
  // Whole blocks up to the end: segments end between them, however the audio comes.
  static size_t Fill(AudioSource& source, std::span<float> block) {
    size_t filled = 0;
    while (filled < block.size()) {
      const size_t count = source.Read(block.subspan(filled));
      if (count == 0) break;
      filled += count;
    }
    return filled;
  }
  double Seconds(int64_t samples) const { return static_cast<double>(samples) / sample_rate(); }
  bool Due(int64_t samples, const TranscribeEvents& events) const {
    return stream_ != nullptr && !whole_ && events.partial && options_.partial_seconds > 0 &&
           Seconds(samples) >= options_.partial_seconds && Loud();
  }

  bool Loud() const { return level_.Loudest() >= options_.silence_db; }

  // A model that sees the whole utterance may write its units anywhere, all of them at the first
  // position for instance. Their positions are times only where they are spread as the sound is.
  bool PositionsAreTimes(const Recognition& r) const {
    if (!whole_ || r.positions.empty()) return true;
    const SoundLevel::Range loud = level_.Loud();
    const auto [first, last] = std::ranges::minmax(r.positions);
    const double spread = static_cast<double>(last - first + 1) * recognizer_.SecondsPerPosition();
    return 2 * spread >= loud.end - loud.begin;
  }

  void Push(std::span<const float> frames) {
    if (stream_ != nullptr) return stream_->Push(frames);
    utterance_.insert(utterance_.end(), frames.begin(), frames.end());
  }

  // Whether the segment is over.
  bool End(double now) const {
    if (whole_) return now - begin_ >= kPiece;
    const Recognition r = stream_->Result();
    if (now - begin_ >= kLongest) return true;
    const double last = r.positions.empty() ? 0
                                            : static_cast<double>(r.positions.back() + 1) *
                                                  recognizer_.SecondsPerPosition();
    return !r.units.empty() && r.audio_seconds - last >= kPause + ChunkSeconds();
  }
  // What a stream may hold back.
  double ChunkSeconds() const {
    return options_.search.context.value_or(recognizer_.config().attention).chunk *
           recognizer_.SecondsPerPosition();
  }

  void Finish(double now, FbankStream& frames, const TranscribeEvents& events) {
    features_.values.clear();
    frames.Finish(&features_);
    Push(features_.values);
    Recognition r;
    if (stream_ != nullptr) {
      stream_->Finish();
      r = stream_->Result();
      stream_->Reset();
    } else {
      r = recognizer_.Recognize(utterance_, options_.search);
      utterance_.clear();
    }
    if (!r.text.empty() && Loud() && events.segment) events.segment(ToSegment(r, now));
    level_.Reset();
    begin_ = now;
  }

  Segment ToSegment(const Recognition& r, double now) const {
    Segment segment{.begin = begin_, .end = now, .text = r.text, .units = r.units, .words = {}};
    if (!PositionsAreTimes(r)) {
      const SoundLevel::Range loud = level_.Loud();
      segment.begin = begin_ + loud.begin;
      segment.end = std::min(now, begin_ + loud.end);
      return segment;
    }
    std::vector<Word> words =
        WordsOfUnits(recognizer_.units(), r, begin_, recognizer_.SecondsPerPosition());
    if (!words.empty()) {
      segment.begin = words.front().begin;
      segment.end = std::min(now, words.back().end);
    }
    if (options_.words) segment.words = std::move(words);
    return segment;
  }

  TranscribeOptions options_;
  Recognizer recognizer_;
  Fbank fbank_;
  SoundLevel level_;  // of the utterance
  SearchKind kind_;
  bool whole_;                                // text only at the end of an utterance
  std::unique_ptr<RecognizerStream> stream_;  // null: a search over whole utterances
  std::vector<float> utterance_;              // features, without a stream
  Features features_;
  double begin_ = 0;  // of the utterance
};

}  // namespace

std::unique_ptr<Transcriber::Method> MakeRecognizerMethod(const SpeechModel& model,
                                                          const TranscribeOptions& options,
                                                          ThreadPool& pool) {
  return std::make_unique<RecognizerMethod>(model, options, pool);
}

}  // namespace rondo
