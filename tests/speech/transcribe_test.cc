#include "rondo/transcribe.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "base/machine.h"
#include "base/rng.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "speech/random_speech_model.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Noise that comes in pieces of any length.
class Noise : public AudioSource {
 public:
  Noise(size_t samples, size_t piece, int rate = 16000, double loudness = 1)
      : left_(samples), piece_(piece), rate_(rate), loudness_(loudness) {}
  int sample_rate() const override { return rate_; }
  size_t Read(std::span<float> out) override {
    const size_t count = std::min({out.size(), piece_, left_});
    for (float& x : out.first(count)) x = static_cast<float>(loudness_ * (rng_.Uniform() - 0.5));
    left_ -= count;
    return count;
  }

 private:
  size_t left_, piece_;
  int rate_;
  double loudness_;
  Rng rng_{4};
};

SpeechModel Chunked() {
  SpeechModel model = RandomSpeechModel({});
  model.config.attention = {.chunk = 4, .left_chunks = 2};
  // Letters where a random model would say next to nothing but spaces.
  std::vector<float> bias(9);
  std::fill(bias.begin() + kFirstTextUnit + 1, bias.end(), 5.0f);
  model.heads.Set("ctc.bias", Tensor::FromF32({9}, std::move(bias)));
  return model;
}

struct Heard {
  std::vector<Segment> segments;
  int partials = 0;
  double seconds = 0;
};

Heard Transcribe(const SpeechModel& model, AudioSource& source, const TranscribeOptions& options) {
  ThreadPool pool(2);
  Transcriber transcriber(model, options, pool);
  Heard heard;
  heard.seconds =
      transcriber.Run(source, {.segment = [&](const Segment& s) { heard.segments.push_back(s); },
                               .partial = [&](double, const std::string&) { ++heard.partials; }});
  return heard;
}

Heard Transcribe(const SpeechModel& model, AudioSource& source, double partial_seconds = 0) {
  return Transcribe(model, source, TranscribeOptions{.partial_seconds = partial_seconds});
}

TEST(Transcriber, TextDoesNotDependOnHowAudioComes) {
  const SpeechModel model = Chunked();
  Noise whole(48000, 48000), pieces(48000, 777);
  const Heard a = Transcribe(model, whole), b = Transcribe(model, pieces, 0.5);
  ASSERT_FALSE(a.segments.empty());
  EXPECT_EQ(a.partials, 0);
  EXPECT_GE(b.partials, 4);
  EXPECT_DOUBLE_EQ(a.seconds, 3.0);
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (size_t i = 0; i < a.segments.size(); ++i) {
    EXPECT_EQ(a.segments[i].text, b.segments[i].text);
    EXPECT_EQ(a.segments[i].units, b.segments[i].units);
  }
}

// Where segments end does not depend on it either.
TEST(Transcriber, SegmentsDoNotDependOnHowAudioComes) {
  const SpeechModel model = Chunked();
  Noise whole(70 * 16000, 70 * 16000), blocks(70 * 16000, 1600), pieces(70 * 16000, 777);
  const Heard a = Transcribe(model, whole), b = Transcribe(model, blocks),
              c = Transcribe(model, pieces);
  ASSERT_GE(a.segments.size(), 2u);
  for (const Heard* other : {&b, &c}) {
    ASSERT_EQ(a.segments.size(), other->segments.size());
    for (size_t i = 0; i < a.segments.size(); ++i) {
      EXPECT_EQ(a.segments[i].units, other->segments[i].units);
      EXPECT_EQ(a.segments[i].begin, other->segments[i].begin);
    }
  }
}

TEST(Transcriber, WordsOfStreamsHaveTimesInOrder) {
  Noise noise(48000, 1000);
  const Heard heard = Transcribe(Chunked(), noise);
  std::string text;
  double last = 0;
  for (const Segment& segment : heard.segments) {
    std::string joined;
    for (const Word& word : segment.words) {
      joined += (joined.empty() ? "" : " ") + word.text;
      EXPECT_GE(word.begin, last);
      EXPECT_GT(word.end, word.begin);
      EXPECT_LE(word.begin, heard.seconds);
      last = word.begin;
    }
    EXPECT_EQ(joined, segment.text);
  }
}

TEST(Transcriber, AudioOfAnotherRateIsRefused) {
  Noise noise(100, 100, 8000);
  EXPECT_THAT([&] { Transcribe(Chunked(), noise); },
              ThrowsMessage<Error>(HasSubstr("audio at 8000 Hz")));
}

TEST(Transcriber, SilenceHasNoWords) {
  // A noise of ±0.5 has a root mean square of 0.29, −10.8 dB of full scale.
  const auto heard = [](double loudness, double silence_db) {
    Noise noise(48000, 4800, 16000, loudness);
    const TranscribeOptions options{.partial_seconds = 0.5, .silence_db = silence_db};
    return Transcribe(Chunked(), noise, options);
  };
  EXPECT_FALSE(heard(0.01, -55).segments.empty());  // −51 dB
  const Heard quiet = heard(0.005, -55), off = heard(0, -200);
  EXPECT_TRUE(quiet.segments.empty());
  EXPECT_EQ(quiet.partials, 0);
  EXPECT_DOUBLE_EQ(quiet.seconds, 3);
  EXPECT_FALSE(off.segments.empty());
  EXPECT_THAT([&] { heard(1, 1); }, ThrowsMessage<Error>(HasSubstr("silence")));
}

// A model of full context that writes "a" at every position, or at the first one alone.
SpeechModel WholeContext(bool everywhere) {
  SpeechModel model = RandomSpeechModel({});
  model.heads.Set("ctc.weight", Tensor::FromF32({9, 16}, std::vector<float>(9 * 16)));
  std::vector<float> bias(9);
  bias[everywhere ? kFirstTextUnit + 1 : kBlankUnit] = 5;
  model.heads.Set("ctc.bias", Tensor::FromF32({9}, std::move(bias)));
  return model;
}

TEST(Transcriber, UnitsThatDoNotFollowTheSoundHaveNoTimes) {
  // The same unit at every position is one unit, at the first.
  Noise noise(32000, 1000);
  const Heard heard = Transcribe(WholeContext(true), noise);
  ASSERT_EQ(heard.segments.size(), 1u);
  EXPECT_EQ(heard.segments[0].text, "a");
  EXPECT_TRUE(heard.segments[0].words.empty());
  // The segment is as long as the sound instead.
  EXPECT_EQ(heard.segments[0].begin, 0);
  EXPECT_NEAR(heard.segments[0].end, 2, 0.03);
  // Noise of 40 ms is no longer than the unit.
  Noise brief(640, 640);
  const Heard one = Transcribe(WholeContext(true), brief);
  ASSERT_EQ(one.segments.size(), 1u);
  EXPECT_EQ(one.segments[0].words.size(), 1u);
}

TEST(Transcriber, LongSoundDoesNotFillMemory) {
  SpeechModel model = Chunked();
  model.config.front.sample_rate = 8000;
  ThreadPool pool(1);
  Transcriber transcriber(model, {.partial_seconds = 60}, pool);
  int64_t segments = 0;
  const auto hear = [&](double hours) {
    Noise noise(static_cast<size_t>(hours * 3600 * 8000), 8000, 8000);
    transcriber.Run(noise, {.segment = [&](const Segment&) { ++segments; },
                            .partial = [](double, const std::string&) {}});
    return PeakMemoryBytes();
  };
  const int64_t before = hear(0.05);
  const int64_t after = hear(0.5);
  EXPECT_GE(segments, 30);
  EXPECT_LT(after - before, 2 << 20);
}

TEST(Transcriber, OptionsOfOtherModelsAreRefused) {
  ThreadPool pool(1);
  EXPECT_THAT([&] { Transcriber(Chunked(), {.language = "de"}, pool); },
              ThrowsMessage<Error>(HasSubstr("language: only Whisper")));
  SearchOptions translate{.translate = true};
  EXPECT_THAT([&] { Transcriber(Chunked(), {.search = translate}, pool); },
              ThrowsMessage<Error>(HasSubstr("translate: the model has no decoder")));
  EXPECT_THAT([] { LoadSpeechModel("models/there-is-no-such-model"); },
              ThrowsMessage<Error>(HasSubstr("scripts/get_model.sh whisper-base")));
}

TEST(Transcriber, SearchesThatWhisperHasNotAreRefused) {
  SpeechModel whisper = Chunked();
  whisper.config.whisper.emplace();
  ThreadPool pool(1);
  const auto message = [&](const SearchOptions& search) -> std::string {
    try {
      Transcriber transcriber(whisper, {.search = search}, pool);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({.kind = SearchKind::kCtc}), HasSubstr("search: Whisper reads greedily"));
  EXPECT_THAT(message({.beam = 4}), HasSubstr("beam: Whisper reads greedily"));
  EXPECT_THAT(message({.context = AttentionContext{.chunk = 8}}),
              HasSubstr("chunk: Whisper reads greedily"));
}

}  // namespace
}  // namespace rondo
