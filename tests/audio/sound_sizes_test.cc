// Recordings whose headers say something else than what is there.
#include <gmock/gmock.h>
#include <sndfile.h>

#include <cstring>
#include <span>
#include <stdexcept>

#include "audio/mpeg_frames.h"
#include "audio/wav_file.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "base/temp_dir.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

struct Heard {
  std::vector<float> samples;
  std::string note;  // on standard error
};

// A note is written once for a name, so every file has one of its own.
Heard Hear(const std::string& bytes) {
  static int count = 0;
  TempDir dir;
  std::string path = dir.File("s");
  path += std::to_string(++count);
  WriteTextFile(path, bytes);
  testing::internal::CaptureStderr();
  Heard heard;
  try {
    heard.samples = AudioStore().Read(path).samples;
  } catch (...) {
    testing::internal::GetCapturedStderr();
    throw;
  }
  heard.note = testing::internal::GetCapturedStderr();
  return heard;
}

// Neither zeros nor letters, so that no sample looks like the name of a chunk.
std::vector<int16_t> Samples(size_t count = 1000) {
  std::vector<int16_t> samples(count);
  for (size_t i = 0; i < count; ++i) samples[i] = static_cast<int16_t>(i * 37 % 20000 - 10000);
  return samples;
}

std::string Good() { return Wav(Samples(), 16000); }

std::string With32(std::string wav, size_t at, uint32_t value) {
  std::memcpy(&wav[at], &value, 4);
  return wav;
}

std::string Big(uint64_t value, size_t width) {
  std::string bytes;
  while (width-- > 0) bytes += static_cast<char>(value >> 8 * width & 255);
  return bytes;
}

std::string BigSamples(size_t count) {
  std::string bytes;
  for (const int16_t sample : Samples(count)) bytes += Big(static_cast<uint16_t>(sample), 2);
  return bytes;
}

void ExpectAll(const std::string& bytes, const std::string& note, size_t count = 1000) {
  const Heard heard = Hear(bytes);
  ASSERT_EQ(heard.samples.size(), count) << note;
  const std::vector<int16_t> expected = Samples(count);
  for (size_t i = 0; i < count; ++i) ASSERT_EQ(heard.samples[i], expected[i] / 32768.0f) << note;
  EXPECT_THAT(heard.note, note.empty() ? testing::Matcher<std::string>(IsEmpty())
                                       : testing::Matcher<std::string>(HasSubstr(note)));
}

TEST(SoundSizes, AWholeFileIsReadWithoutANote) {
  ExpectAll(Good(), "");
  ExpectAll(Good() + "LIST" + Bytes(uint32_t{500}) + "INFO", "");
  EXPECT_THAT(Hear(Wav({}, 16000)).samples, IsEmpty());
  // No sound, and a chunk behind it.
  const std::string empty = Wav({}, 16000) + "LIST" + Bytes(uint32_t{4}) + "INFO";
  EXPECT_THAT(Hear(With32(empty, 4, static_cast<uint32_t>(empty.size() - 8))).samples, IsEmpty());
}

TEST(SoundSizes, WavThatWasNeverClosedIsReadToItsEnd) {
  ExpectAll(With32(With32(Good(), 40, 0), 4, 0), "never completed");
  ExpectAll(With32(With32(Good(), 40, 0), 4, 36), "all 2,000 that are there");
  // The size was written after half of the sound.
  ExpectAll(With32(Good(), 40, 1000), "it says 1,000 bytes");
  std::string filler = Good();
  filler.insert(36, "FLLR" + Bytes(uint32_t{4000}) + std::string(4000, '\0'));
  ExpectAll(With32(filler, 36 + 4008 + 4, 0), "never completed");
  // Programs that write to a pipe leave such lengths: sox and espeak-ng, arecord, ffmpeg.
  for (const uint32_t unknown : {0x7ffff000u, 0x80000000u, 0xffffffffu}) {
    ExpectAll(With32(Good(), 40, unknown), "does not say how long");
  }
}

TEST(SoundSizes, MissingBytesAreCounted) {
  ExpectAll(With32(Good(), 40, 2008), "8 of 2,008 bytes of sound are missing");
  ExpectAll(With32(Good(), 40, 2036), "36 of 2,036 bytes");
  ExpectAll(Good().substr(0, 44 + 1000), "1,000 of 2,000 bytes", 500);
}

TEST(SoundSizes, WideWavIsReadToItsEnd) {
  const auto wide = [](uint64_t size) {
    const std::string good = Good();
    return "RF64" + Bytes(uint32_t{0xffffffff}) + "WAVEds64" + Bytes(uint32_t{28}) +
           Bytes(size > 0 ? size + 72 : 0) + Bytes(size) + Bytes(size / 2) + Bytes(uint32_t{0}) +
           good.substr(12, 24) + "data" + Bytes(uint32_t{0xffffffff}) + good.substr(44);
  };
  ExpectAll(wide(2000), "");
  ExpectAll(wide(0), "never completed");
  ExpectAll(wide(uint64_t{1} << 40), "does not say how long");
}

std::string Aiff(uint32_t frames, uint32_t sound, const std::string& samples) {
  return "FORM" + Big(46 + samples.size(), 4) + "AIFFCOMM" + Big(18, 4) + Big(1, 2) +
         Big(frames, 4) + Big(16, 2) + std::string("\x40\x0c\xfa\0\0\0\0\0\0\0", 10) + "SSND" +
         Big(sound, 4) + std::string(8, '\0') + samples;
}

TEST(SoundSizes, AiffCafAndAuAreReadToTheirEnd) {
  const std::string samples = BigSamples(1000);
  ExpectAll(Aiff(1000, 2008, samples), "");
  ExpectAll(Aiff(0, 0, samples), "never completed");
  ExpectAll(Aiff(0, 8, samples), "never completed");
  ExpectAll(Aiff(1000, 2016, samples), "8 of 2,008 bytes");
  const auto caf = [&](uint64_t size) {
    return "caff" + Big(1, 2) + Big(0, 2) + "desc" + Big(32, 8) +
           std::string("\x40\xcf\x40\0\0\0\0\0", 8) + "lpcm" + Big(0, 4) + Big(2, 4) + Big(1, 4) +
           Big(1, 4) + Big(16, 4) + "data" + Big(size, 8) + Big(0, 4) + samples;
  };
  ExpectAll(caf(2004), "");
  ExpectAll(caf(~uint64_t{0}), "");
  ExpectAll(caf(0), "never completed");
  ExpectAll(caf(2012), "8 of 2,008 bytes");
  const auto au = [&](uint32_t size) {
    return ".snd" + Big(24, 4) + Big(size, 4) + Big(3, 4) + Big(16000, 4) + Big(1, 4) + samples;
  };
  ExpectAll(au(2000), "");
  ExpectAll(au(0xffffffff), "");
  ExpectAll(au(0), "never completed");
}

TEST(SoundSizes, PromisedSamplesAreHeldAgainstTheSizeOfTheFile) {
  const Stopwatch watch;
  const Heard heard = Hear(Aiff(25'600'000, 51'200'008, BigSamples(1400)));
  EXPECT_EQ(heard.samples.size(), 1400u);
  EXPECT_THAT(heard.note, HasSubstr("are missing at the end"));
  EXPECT_LT(watch.Seconds(), 1);
}

// A second and a half of a sine in another format.
std::string Encode(int format, int rate, double seconds = 1.5, double bitrate = -1) {
  TempDir dir;
  const std::string path = dir.File("encoded");
  SF_INFO info = {};
  info.samplerate = rate;
  info.channels = 1;
  info.format = format;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  if (file == nullptr) throw std::runtime_error(sf_strerror(nullptr));
  int constant = SF_BITRATE_MODE_CONSTANT;
  if (bitrate >= 0) {
    sf_command(file, SFC_SET_BITRATE_MODE, &constant, sizeof(constant));
    sf_command(file, SFC_SET_COMPRESSION_LEVEL, &bitrate, sizeof(bitrate));
  }
  std::vector<float> samples = Sine(440, rate, static_cast<size_t>(rate * seconds));
  Rng rng(3);  // so that there is something to encode
  for (float& x : samples) x += static_cast<float>(0.1 * rng.Uniform());
  sf_writef_float(file, samples.data(), static_cast<sf_count_t>(samples.size()));
  sf_close(file);
  return ReadTextFile(path);
}

TEST(SoundSizes, FlacThatWasNeverClosedIsReadAsFarAsItGoes) {
  std::string flac = Encode(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000);
  const Heard whole = Hear(flac);
  EXPECT_THAT(whole.note, IsEmpty());
  ASSERT_EQ(whole.samples.size(), 24000u);
  // Its checksums and the length in its header are held to.
  EXPECT_THAT([&] { Hear(flac.substr(0, flac.size() - 1)); },
              testing::ThrowsMessage<Error>(HasSubstr("24000 samples; there are 20480")));
  flac[21] &= 0xf0;  // the length in 36 bits; 0 says that it is not known
  flac.replace(22, 4, 4, '\0');
  const Heard cut = Hear(flac.substr(0, flac.size() - 1));
  EXPECT_EQ(cut.samples.size(), 20480u);
  EXPECT_TRUE(std::equal(cut.samples.begin(), cut.samples.end(), whole.samples.begin()));
  EXPECT_THAT(cut.note, HasSubstr("cannot be read beyond sample 20480"));
}

constexpr int kMp3 = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III;

// The frame in front that says how many follow.
std::string WithoutXing(const std::string& mp3) {
  const auto frame = ParseMpegFrame(std::as_bytes(std::span(mp3)));
  if (!frame) throw std::runtime_error("no frame");
  return mp3.substr(frame->bytes);
}

TEST(SoundSizes, Mp3IsReadWholeWhateverItSaysOfItsLength) {
  for (const int rate : {44100, 22050, 16000}) {
    const std::string mp3 = Encode(kMp3, rate, 3, 0.5), bare = WithoutXing(mp3);
    const Heard all = Hear(mp3);
    EXPECT_EQ(all.samples.size(), static_cast<size_t>(3 * rate));
    const Heard heard = Hear(bare);
    EXPECT_THAT(heard.note, IsEmpty());
    // The encoder's delay and what fills its last frame come along.
    EXPECT_GE(heard.samples.size(), all.samples.size());
    EXPECT_LE(heard.samples.size(), all.samples.size() + 4 * 1152);
  }
}

TEST(SoundSizes, Mp3OfChangingBitRatesIsReadWhole) {
  // Lengths that are guessed from the first frames are several times too long, or too short.
  const std::string low = WithoutXing(Encode(kMp3, 44100, 2, 0.99));
  const std::string high = WithoutXing(Encode(kMp3, 44100, 2, 0.1));
  for (const std::string& mp3 : {low + high, high + low}) {
    const Heard heard = Hear(mp3);
    EXPECT_THAT(heard.note, IsEmpty());
    EXPECT_NEAR(static_cast<double>(heard.samples.size()), 4 * 44100, 6 * 1152);
  }
}

TEST(SoundSizes, StitchedMp3IsReadWhole) {
  const std::string a = Encode(kMp3, 44100, 2), b = Encode(kMp3, 44100, 1);
  EXPECT_EQ(Hear(a + b).samples.size(), 3 * 44100u);
  // The second part says nothing of its length; it has another rate; a tag stands between.
  EXPECT_NEAR(static_cast<double>(Hear(a + WithoutXing(b)).samples.size()), 3 * 44100, 3 * 1152);
  const std::string tag = std::string("ID3\4\0\0\0\0\0\x14", 10) + std::string(20, '\0');
  EXPECT_EQ(Hear(tag + a + tag + b).samples.size(), 3 * 44100u);
  const std::string rates = a + Encode(kMp3, 22050, 1);
  TempDir dir;
  WriteTextFile(dir.File("rates.mp3"), rates);
  const AudioClip clip = AudioStore().Read(dir.File("rates.mp3"), 16000);
  EXPECT_NEAR(clip.seconds(), 3, 0.01);
}

TEST(SoundSizes, Mp3IsFoundBehindAndBeforeOtherBytes) {
  const std::string mp3 = Encode(kMp3, 44100, 1);
  for (const std::string& around :
       {std::string(700, '\0') + mp3, mp3 + "TAG" + std::string(125, ' '),
        mp3 + std::string(99, '\0')}) {
    EXPECT_EQ(Hear(around).samples.size(), 44100u);
  }
}

TEST(SoundSizes, Mp3ThatIsCutSaysWhatIsMissing) {
  const std::string mp3 = Encode(kMp3, 44100, 3);
  const Heard cut = Hear(mp3.substr(0, mp3.size() / 2));
  EXPECT_THAT(cut.note, HasSubstr("MP3 frames before the end"));
  EXPECT_GT(cut.samples.size(), 44100u);
}

TEST(SoundSizes, FilesOneBehindTheOtherAreAllRead) {
  const Heard heard = Hear(Good() + Wav(std::vector<int16_t>(500, 7), 16000));
  EXPECT_EQ(heard.samples.size(), 1500u);
  EXPECT_EQ(heard.samples.back(), 7 / 32768.0f);
  EXPECT_THAT(heard.note, IsEmpty());
  const std::string flac = Encode(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000);
  EXPECT_EQ(Hear(flac + flac + "TAG" + std::string(125, ' ')).samples.size(), 48000u);
  for (const int codec : {SF_FORMAT_OPUS, SF_FORMAT_VORBIS}) {
    const std::string a = Encode(SF_FORMAT_OGG | codec, 16000);
    const std::string b = Encode(SF_FORMAT_OGG | codec, 48000, 1);
    EXPECT_EQ(Hear(a + a).samples.size(), 48000u);
    // All at the rate of the first.
    EXPECT_EQ(Hear(a + b + a).samples.size(), 24000u + 16000u + 24000u);
  }
}

TEST(SoundSizes, OggEndsWhereItWasCut) {
  for (const int codec : {SF_FORMAT_OPUS, SF_FORMAT_VORBIS}) {
    const std::string ogg = Encode(SF_FORMAT_OGG | codec, 16000, 8);
    const Heard cut = Hear(ogg.substr(0, ogg.size() * 3 / 4));
    EXPECT_GT(cut.samples.size(), 16000u);
    EXPECT_LT(cut.samples.size(), 8 * 16000u);
  }
}

}  // namespace
}  // namespace rondo
