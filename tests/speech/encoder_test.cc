#include "speech/encoder.h"

#include <gtest/gtest.h>

#include "rondo/thread_pool.h"
#include "speech/random_speech_model.h"

namespace rondo {
namespace {

std::vector<float> Features(int64_t frames, int64_t mel) {
  Rng rng(7);
  std::vector<float> values(static_cast<size_t>(frames * mel));
  for (float& value : values) value = static_cast<float>(rng.Normal());
  return values;
}

// Pushes pieces of varying length, as a microphone would.
std::vector<float> RunInPieces(const SpeechEncoder& encoder, const AttentionContext& context,
                               std::span<const float> features, std::vector<int> pieces) {
  const int64_t mel = encoder.speech().front.mel_bins;
  EncoderStream stream(encoder, context);
  std::vector<float> hidden;
  int64_t at = 0;
  const auto frames = static_cast<int64_t>(features.size()) / mel;
  for (size_t i = 0; at < frames; ++i) {
    const int64_t count = std::min<int64_t>(pieces[i % pieces.size()], frames - at);
    stream.Push(features.subspan(static_cast<size_t>(at * mel), static_cast<size_t>(count * mel)),
                &hidden);
    at += count;
  }
  stream.Finish(&hidden);
  return hidden;
}

TEST(EncoderTest, StreamsGiveTheSameBitsInAnyPieces) {
  for (const int conv_kernel : {0, 5}) {
    for (const PositionKind positions : {PositionKind::kSinusoidal, PositionKind::kRope}) {
      const SpeechModel model =
          RandomSpeechModel({.conv_kernel = conv_kernel, .positions = positions});
      ThreadPool pool(2);
      const SpeechEncoder encoder(model, {}, pool);
      for (const int64_t frames : {1, 2, 7, 61, 1300}) {
        const std::vector<float> features = Features(frames, 8);
        for (const AttentionContext& context : {AttentionContext{}, AttentionContext{.chunk = 3},
                                                AttentionContext{.chunk = 5, .left_chunks = 2},
                                                AttentionContext{.chunk = 20, .left_chunks = 4},
                                                AttentionContext{.chunk = 4, .left_chunks = 0}}) {
          const std::vector<float> whole = encoder.Run(features, context);
          EXPECT_EQ(whole.size(), static_cast<size_t>(model.config.Positions(frames) * 16));
          EXPECT_EQ(RunInPieces(encoder, context, features, {1}), whole);
          EXPECT_EQ(RunInPieces(encoder, context, features, {3, 1, 17, 0, 4}), whole);
        }
      }
    }
  }
}

// A chunk of the whole utterance sees what no chunk sees.
TEST(EncoderTest, ContextMatters) {
  const SpeechModel model = RandomSpeechModel({});
  ThreadPool pool(1);
  const SpeechEncoder encoder(model, {}, pool);
  const std::vector<float> features = Features(80, 8);
  const std::vector<float> full = encoder.Run(features, {});
  EXPECT_EQ(encoder.Run(features, {.chunk = 20}), full);
  EXPECT_NE(encoder.Run(features, {.chunk = 10}), full);
  EXPECT_NE(encoder.Run(features, {.chunk = 5, .left_chunks = 1}),
            encoder.Run(features, {.chunk = 5}));
}

// Of a chunked model's early output nothing depends on what comes later.
TEST(EncoderTest, ChunksSeeNothingLater) {
  const SpeechModel model = RandomSpeechModel({.conv_kernel = 5});
  ThreadPool pool(1);
  const SpeechEncoder encoder(model, {}, pool);
  std::vector<float> features = Features(100, 8);
  const std::vector<float> before = encoder.Run(features, {.chunk = 5});
  for (size_t i = 60 * 8; i < features.size(); ++i) features[i] += 1;
  const std::vector<float> after = encoder.Run(features, {.chunk = 5});
  // Frames from 60 on reach positions from 14 on, which are in the third chunk.
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 10 * 16, after.begin()));
  EXPECT_NE(before, after);
}

TEST(EncoderTest, MemoryIsBoundedWithALeftContext) {
  const SpeechModel model = RandomSpeechModel({});
  ThreadPool pool(1);
  const SpeechEncoder encoder(model, {}, pool);
  EncoderStream stream(encoder, {.chunk = 8, .left_chunks = 4});
  const std::vector<float> features = Features(64, 8);
  std::vector<float> hidden;
  for (int i = 0; i < 20; ++i) stream.Push(features, &hidden);
  const uint64_t bytes = stream.bytes();
  for (int i = 0; i < 200; ++i) {
    hidden.clear();
    stream.Push(features, &hidden);
  }
  EXPECT_EQ(stream.bytes(), bytes);
}

}  // namespace
}  // namespace rondo
