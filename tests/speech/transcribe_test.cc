#include "rondo/transcribe.h"

#include <gmock/gmock.h>

#include <algorithm>

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
  Noise(size_t samples, size_t piece, int rate = 16000)
      : left_(samples), piece_(piece), rate_(rate) {}
  int sample_rate() const override { return rate_; }
  size_t Read(std::span<float> out) override {
    const size_t count = std::min({out.size(), piece_, left_});
    for (float& x : out.first(count)) x = static_cast<float>(rng_.Uniform() - 0.5);
    left_ -= count;
    return count;
  }

 private:
  size_t left_, piece_;
  int rate_;
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

Heard Transcribe(const SpeechModel& model, AudioSource& source, double partial_seconds = 0) {
  ThreadPool pool(2);
  Transcriber transcriber(model, {.partial_seconds = partial_seconds}, pool);
  Heard heard;
  heard.seconds =
      transcriber.Run(source, {.segment = [&](const Segment& s) { heard.segments.push_back(s); },
                               .partial = [&](double, const std::string&) { ++heard.partials; }});
  return heard;
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
