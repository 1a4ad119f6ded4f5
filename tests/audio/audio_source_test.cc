#include <gmock/gmock.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <thread>

#include "audio/wav_file.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/temp_dir.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::string kSpeech = std::string(RONDO_TEST_DATA) + "/speech/";

AudioClip ReadBytes(const std::string& bytes, int rate = 0) {
  TempDir dir;
  WriteTextFile(dir.File("a.wav"), bytes);
  return AudioStore().Read(dir.File("a.wav"), rate);
}

TEST(AudioSource, ChannelsAreAveraged) {
  const AudioClip clip = ReadBytes(Wav({16384, 0, -32768, -32768, 8192, -8192}, 8000, 2));
  EXPECT_EQ(clip.sample_rate, 8000);
  EXPECT_THAT(clip.samples, ElementsAre(0.25f, -1.0f, 0.0f));
}

TEST(AudioSource, ReadsSpeechInOpusAndFlac) {
  AudioStore store;
  const AudioClip opus =
      store.Read(kSpeech + "kathleen.tar:kathleen-en/arctic_a0018_1592748134.opus");
  EXPECT_EQ(opus.sample_rate, 16000);
  EXPECT_GT(opus.seconds(), 1);
  const AudioClip flac = store.Read(kSpeech + "7_theo_0.flac");
  EXPECT_EQ(flac.sample_rate, 8000);
  const AudioClip wide = store.Read(kSpeech + "7_theo_0.flac", 16000);
  EXPECT_EQ(wide.samples.size(), 2 * flac.samples.size());
}

TEST(AudioSource, RefusesWhatIsNoSound) {
  EXPECT_THAT([&] { ReadBytes("not a sound at all, just text"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("a.wav"), HasSubstr("not readable as sound"))));
  EXPECT_THAT([&] { ReadBytes(std::string("\0\0\0\x1c", 4) + "ftypM4A \0\0\0\0"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("MP4"), HasSubstr("ffmpeg -i"))));
  std::string odd = Wav(std::vector<int16_t>(1000, 7), 16000);
  odd[22] = 100;
  EXPECT_THAT([&] { ReadBytes(odd); }, ThrowsMessage<Error>(HasSubstr("a.wav")));
  TempDir dir;
  EXPECT_THAT([&] { AudioStore().Read(dir.File("")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("a directory"), HasSubstr("*.wav"))));
}

TEST(AudioSource, RefusesSoundThatIsDamagedInTheMiddle) {
  std::string damaged = ReadTextFile(kSpeech + "7_theo_0.flac");
  for (size_t i = 0; i < 64; ++i) damaged[damaged.size() / 2 + i] ^= 0x5a;
  EXPECT_THAT([&] { ReadBytes(damaged); }, ThrowsMessage<Error>(HasSubstr("a.wav")));
}

// Two samples.
std::string FloatWav(float first, float second) {
  std::string wav = Wav({0, 0, 0, 0}, 16000);
  wav[20] = 3;   // IEEE float
  wav[34] = 32;  // bits
  wav[32] = 4;   // bytes of a frame
  return wav.replace(44, 8, Bytes(first) + Bytes(second));
}

TEST(AudioSource, RefusesSamplesThatAreNoNumbers) {
  EXPECT_THAT([] { ReadBytes(FloatWav(0.5f, std::numeric_limits<float>::quiet_NaN())); },
              ThrowsMessage<Error>(HasSubstr("sample 1 is no finite number")));
}

TEST(AudioSource, RefusesSamplesThatFiltersWouldOverflowWith) {
  EXPECT_EQ(ReadBytes(FloatWav(-32768, 0x1p31f)).samples, (std::vector<float>{-32768, 0x1p31f}));
  EXPECT_THAT([] { ReadBytes(FloatWav(0.5f, -2.5e38f)); },
              ThrowsMessage<Error>(HasSubstr("sample 1 is out of all proportion")));
}

TEST(AudioSource, AnyDamageIsAnErrorAndNeverMore) {
  const std::string opus = [] {
    const AudioStore store;
    return ReadTextFile(kSpeech + "kathleen.tar").substr(512, 4109);
  }();
  const std::string flac = ReadTextFile(kSpeech + "7_theo_0.flac");
  Rng rng(5);
  for (int trial = 0; trial < 200; ++trial) {
    std::string bytes = trial % 2 == 0 ? opus : flac;
    for (int i = 0; i < 8; ++i) bytes[rng.Next() % bytes.size()] ^= static_cast<char>(rng.Next());
    try {
      for (const float sample : ReadBytes(bytes, 16000).samples) ASSERT_TRUE(std::isfinite(sample));
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("a.wav"));
    }
  }
}

TEST(Resampler, GivesTheSineThatWasThere) {
  for (const double from : {8000.0, 22050.0, 44100.0, 48000.0}) {
    const std::vector<float> in = Sine(1000, from, static_cast<size_t>(from));
    const std::vector<float> out = Resample(in, from, 16000);
    ASSERT_NEAR(static_cast<double>(out.size()), 16000, 1);
    const std::vector<float> expected = Sine(1000, 16000, out.size());
    // Ends see the zeros outside; soxr's high quality is made for 20 bits.
    for (size_t i = 1000; i + 1000 < out.size(); ++i) {
      ASSERT_NEAR(out[i], expected[i], 0x1p-18) << from << " Hz, sample " << i;
    }
  }
}

TEST(Resampler, DoesNotDependOnThePieces) {
  Rng rng(1);
  std::vector<float> in(30000);
  for (float& x : in) x = static_cast<float>(rng.Uniform() - 0.5);
  const std::vector<float> whole = Resample(in, 44100, 16000);
  for (int trial = 0; trial < 5; ++trial) {
    std::vector<float> out;
    Resampler resampler(44100, 16000);
    for (size_t at = 0; at < in.size();) {
      const size_t count = std::min<size_t>(in.size() - at, rng.Next() % (trial == 0 ? 3 : 5000));
      resampler.Push(std::span(in).subspan(at, count), out);
      at += count;
    }
    resampler.Finish(out);
    ASSERT_EQ(out, whole);
  }
}

TEST(Resampler, RefusesRatesThatMakeNoSense) {
  EXPECT_THAT([] { Resampler(0, 16000); }, ThrowsMessage<Error>(HasSubstr("sampling rate 0")));
  EXPECT_THAT([] { Resampler(16000, 1e9); }, ThrowsMessage<Error>(HasSubstr("768000")));
  EXPECT_THAT([] { ChangeSpeed({}, 0); }, ThrowsMessage<Error>(HasSubstr("factor 0")));
}

TEST(ChangeSpeed, ShortensAndRaisesThePitch) {
  const std::vector<float> fast = ChangeSpeed(Sine(1000, 16000, 16000), 1.25);
  ASSERT_NEAR(static_cast<double>(fast.size()), 12800, 1);
  const std::vector<float> expected = Sine(1250, 16000, fast.size());
  for (size_t i = 1000; i + 1000 < fast.size(); ++i) ASSERT_NEAR(fast[i], expected[i], 0x1p-18);
}

TEST(OpenPipe, GivesWhatArrivesHoweverItIsCut) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const std::string bytes = Wav({100, -200, 32767, -32768}, 16000).substr(44);
  std::thread writer([&] {
    for (const char c : bytes + "x") {  // the last byte is half a sample
      ASSERT_EQ(write(pipe_ends[1], &c, 1), 1);
      usleep(500);
    }
    close(pipe_ends[1]);
  });
  const auto source = OpenPipe(pipe_ends[0], "pipe", 16000, 16000);
  std::vector<float> samples, block(16);
  while (const size_t count = source->Read(block)) {
    samples.insert(samples.end(), block.begin(), block.begin() + static_cast<ptrdiff_t>(count));
  }
  writer.join();
  close(pipe_ends[0]);
  EXPECT_THAT(samples, ElementsAre(100 / 32768.0f, -200 / 32768.0f, 32767 / 32768.0f, -1.0f));
}

}  // namespace
}  // namespace rondo
