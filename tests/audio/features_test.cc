#include <gmock/gmock.h>

#include <cmath>

#include "audio/wav_file.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/temp_dir.h"
#include "rondo/audio.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::Each;
using testing::FloatNear;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::string kSpeech = std::string(RONDO_TEST_DATA) + "/speech/";

std::vector<float> Speech() {
  return AudioStore()
      .Read(kSpeech + "kathleen.tar:kathleen-en/arctic_a0207_1592712443.opus", 16000)
      .samples;
}

TEST(FbankStream, FramesAreTheSameHoweverTheSignalIsCut) {
  const std::vector<float> speech = Speech();
  Rng rng(3);
  for (const bool snip : {true, false}) {
    const Fbank fbank({.snip_edges = snip});
    const Features whole = fbank.Compute(speech);
    EXPECT_EQ(whole.frames(), fbank.FrameCount(std::ssize(speech)));
    for (const uint64_t most : {7u, 161u, 1000u, 9000u}) {
      Features features;
      FbankStream stream(fbank);
      for (size_t at = 0; at < speech.size();) {
        const size_t count = std::min<size_t>(speech.size() - at, rng.Next() % most);
        stream.Push(std::span(speech).subspan(at, count), &features);
        at += count;
      }
      stream.Finish(&features);
      ASSERT_EQ(features.values, whole.values) << "pieces below " << most;
      stream.Push(speech, &features);  // the next signal begins anew
      ASSERT_EQ(features.Row(whole.frames())[5], whole.Row(0)[5]);
    }
  }
}

TEST(FbankStream, GivesAFrameAsSoonAsItsSamplesAreThere) {
  const Fbank fbank(FbankOptions{});
  FbankStream stream(fbank);
  Features features;
  stream.Push(std::vector<float>(399, 0.1f), &features);
  EXPECT_EQ(features.frames(), 0);
  stream.Push(std::vector<float>(1, 0.1f), &features);
  EXPECT_EQ(features.frames(), 1);
  stream.Push(std::vector<float>(160, 0.1f), &features);
  EXPECT_EQ(features.frames(), 2);
}

TEST(Fbank, MirrorsSignalsShorterThanAFrame) {
  const Fbank fbank({.snip_edges = false});
  for (const int samples : {0, 1, 79, 80, 81, 170, 399}) {
    const Features features = fbank.Compute(std::vector<float>(samples, 0.25f));
    EXPECT_EQ(features.frames(), (samples + 80) / 160) << samples;
    for (const float value : features.values) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Fbank, OptionsThatMakeNoSenseAreNamed) {
  const auto refuses = [](const FbankOptions& options, const char* field) {
    EXPECT_THAT([&] { Fbank fbank(options); }, ThrowsMessage<Error>(HasSubstr(field)));
  };
  refuses({.mel_bins = 0}, "mel_bins");
  refuses({.sample_rate = 0}, "sample_rate");
  refuses({.high_freq = 9000}, "high_freq");
  refuses({.low_freq = -1}, "low_freq");
  refuses({.frame_shift_ms = 30}, "frame_shift_ms");
  refuses({.energy_floor = NAN}, "energy_floor");
  EXPECT_THAT([] { WindowKindFromName("haan"); }, ThrowsMessage<Error>(HasSubstr("'hann'")));
}

TEST(Cmvn, UtterancesHaveMeanZeroAndVarianceOne) {
  Features features = Fbank({.mel_bins = 40}).Compute(Speech());
  NormalizeUtterance({}, &features);
  for (int b = 0; b < features.bins; ++b) {
    double sum = 0, squares = 0;
    for (int64_t f = 0; f < features.frames(); ++f) {
      sum += features.Row(f)[b];
      squares += std::pow(features.Row(f)[b], 2);
    }
    const double frames = static_cast<double>(features.frames());
    // Values, shift and scale are rounded once each; log-mel values reach 20.
    EXPECT_NEAR(sum / frames, 0, 20 * 0x1p-23);
    EXPECT_NEAR(squares / frames, 1, 40 * 0x1p-23);
  }
}

TEST(Cmvn, StatisticsOfACorpusSurviveTheirFile) {
  TempDir dir;
  const Features features = Fbank({.mel_bins = 40}).Compute(Speech());
  CmvnStatistics statistics;
  statistics.Add(features);
  statistics.Add(features);
  statistics.Save(dir.File("cmvn.json"));
  const CmvnStatistics loaded = CmvnStatistics::Load(dir.File("cmvn.json"));
  EXPECT_EQ(loaded.frames, 2 * features.frames());
  EXPECT_EQ(loaded.sum, statistics.sum);
  EXPECT_EQ(loaded.sum_squares, statistics.sum_squares);
  Features global = features, own = features;
  GlobalCmvn(loaded, {}).Apply(&global);
  NormalizeUtterance({}, &own);
  EXPECT_EQ(global.values, own.values);  // the same utterance twice has its own statistics

  WriteTextFile(dir.File("bad.json"), R"({"frames": 1, "sum": [1, 2], "sum_squares": [1]})");
  EXPECT_THAT([&] { CmvnStatistics::Load(dir.File("bad.json")); },
              ThrowsMessage<Error>(HasSubstr("bad.json: sum_squares")));
  Features narrow{.bins = 3, .values = {1, 2, 3}};
  EXPECT_THAT([&] { GlobalCmvn(loaded, {}).Apply(&narrow); },
              ThrowsMessage<Error>(HasSubstr("features of 3 bins")));
}

TEST(SpecAugment, MasksStripesOfTheSameSeedAlike) {
  const Features ones{.bins = 20, .values = std::vector<float>(20 * 100, 1.0f)};
  const SpecAugmentOptions options{.max_frequency_width = 5, .max_time_width = 30, .value = -1};
  bool differs = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Features a = ones, b = ones, other = ones;
    SpecAugment(options, seed, &a);
    SpecAugment(options, seed, &b);
    SpecAugment(options, seed + 1, &other);
    ASSERT_EQ(a.values, b.values);
    differs = differs || a.values != other.values;
    // A value is masked where its frame or its bin is.
    std::vector<bool> frames(100, true), bins(20, true);
    for (int f = 0; f < 100; ++f) {
      for (int i = 0; i < 20; ++i) {
        if (a.Row(f)[i] != 1) continue;
        frames[f] = bins[i] = false;
      }
    }
    int masked_frames = 0, masked_bins = 0;
    for (int f = 0; f < 100; ++f) {
      masked_frames += frames[f];
      for (int i = 0; i < 20; ++i) ASSERT_EQ(a.Row(f)[i], frames[f] || bins[i] ? -1 : 1);
    }
    for (int i = 0; i < 20; ++i) masked_bins += bins[i];
    EXPECT_LE(masked_frames, 2 * 25);  // a quarter of 100 limits each
    EXPECT_LE(masked_bins, 2 * 5);
  }
  EXPECT_TRUE(differs);
}

TEST(SpecAugment, EveryWidthAndPlaceOccurs) {
  std::vector<int> widths(6), hits(8);
  for (uint64_t seed = 0; seed < 600; ++seed) {
    Features row{.bins = 8, .values = std::vector<float>(8, 1.0f)};
    SpecAugment({.frequency_masks = 1, .max_frequency_width = 5, .time_masks = 0}, seed, &row);
    int width = 0;
    for (int i = 0; i < 8; ++i) {
      width += row.values[i] == 0;
      hits[i] += row.values[i] == 0;
    }
    ++widths[width];
  }
  // 600 draws of 6 widths: 100 each, deviation 9.1.
  EXPECT_THAT(widths, Each(testing::AllOf(testing::Gt(54), testing::Lt(146))));
  EXPECT_THAT(hits, Each(testing::Gt(0)));
}

TEST(PickSpeed, IsDecidedByTheSeed) {
  const double factors[] = {0.9, 1.0, 1.1};
  std::vector<int> counts(3);
  for (uint64_t seed = 0; seed < 300; ++seed) {
    EXPECT_EQ(PickSpeed(factors, seed), PickSpeed(factors, seed));
    ++counts[static_cast<size_t>(std::lround((PickSpeed(factors, seed) - 0.9) * 10))];
  }
  EXPECT_THAT(counts, Each(testing::Gt(60)));
}

TEST(WhisperFeatures, SilenceIsFlatAndShortWindowsAreFilledUp) {
  const WhisperFeatures whisper(80);
  EXPECT_EQ(whisper.frames(), 3000);
  const Features silence = whisper.Compute({});
  EXPECT_THAT(silence.values, Each(-1.5f));  // (log10 1e-10 + 4) / 4
  const std::vector<float> speech = Speech();
  std::vector<float> padded = speech;
  padded.resize(480000);
  EXPECT_EQ(whisper.Compute(speech).values, whisper.Compute(padded).values);
}

}  // namespace
}  // namespace rondo
