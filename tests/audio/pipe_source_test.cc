// Sound from pipes, told by its header.
#include <gmock/gmock.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "audio/wav_file.h"
#include "base/file.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class OpenPipeTest : public testing::Test {
 protected:
  OpenPipeTest() { EXPECT_EQ(pipe(ends_), 0); }
  ~OpenPipeTest() override {
    if (writer_.joinable()) writer_.join();
    close(ends_[0]);
  }
  // Writes in pieces that cut headers and samples, from a thread.
  void Send(std::string bytes, bool close_it = true) {
    writer_ = std::thread([this, bytes = std::move(bytes), close_it] {
      for (size_t at = 0; at < bytes.size(); at += 333) {
        const size_t count = std::min<size_t>(333, bytes.size() - at);
        ASSERT_EQ(write(ends_[1], bytes.data() + at, count), static_cast<ssize_t>(count));
      }
      if (close_it) close(ends_[1]);
    });
  }
  AudioClip Read(int stop = -1) {
    const auto source = OpenPipe(ends_[0], "standard input", 8000, 0, stop);
    AudioClip clip{.sample_rate = source->sample_rate(), .samples = {}};
    std::vector<float> block(1000);
    while (const size_t count = source->Read(block)) {
      clip.samples.insert(clip.samples.end(), block.begin(),
                          block.begin() + static_cast<ptrdiff_t>(count));
    }
    return clip;
  }

  int ends_[2] = {-1, -1};
  std::thread writer_;
};

std::vector<int16_t> Samples() {
  std::vector<int16_t> samples(3000);
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = static_cast<int16_t>(i * 11);
  return samples;
}

TEST_F(OpenPipeTest, BareSamplesHaveTheRateThatIsTold) {
  Send(Wav(Samples(), 22050).substr(44));
  const AudioClip clip = Read();
  EXPECT_EQ(clip.sample_rate, 8000);
  ASSERT_EQ(clip.samples.size(), 3000u);
  EXPECT_EQ(clip.samples[7], 77 / 32768.0f);
}

TEST_F(OpenPipeTest, WavIsToldByItsHeader) {
  std::string wav = Wav(Samples(), 22050);
  wav.insert(12, "LIST" + Bytes(uint32_t{6}) + "INFOab");
  Send(wav + "LIST" + Bytes(uint32_t{4}) + "INFO");
  const AudioClip clip = Read();
  EXPECT_EQ(clip.sample_rate, 22050);
  ASSERT_EQ(clip.samples.size(), 3000u);
  EXPECT_EQ(clip.samples[7], 77 / 32768.0f);
}

TEST_F(OpenPipeTest, WavOfSeveralChannelsAndUnknownLengthIsReadToTheEnd) {
  std::string wav = Wav(Samples(), 16000, 2);
  for (const size_t at : {4, 40}) std::memset(&wav[at], 0xff, 4);
  Send(wav);
  const AudioClip clip = Read();
  ASSERT_EQ(clip.samples.size(), 1500u);
  EXPECT_EQ(clip.samples[1], (22 + 33) / 2 / 32768.0f + 0.5f / 32768.0f);
}

TEST_F(OpenPipeTest, WavThatEndsEarlySaysSo) {
  testing::internal::CaptureStderr();
  Send(Wav(Samples(), 16000).substr(0, 44 + 2000));
  EXPECT_EQ(Read().samples.size(), 1000u);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("4,000 of 6,000 bytes"));
}

TEST_F(OpenPipeTest, OtherFormatsAreToldToo) {
  Send(ReadTextFile(std::string(RONDO_TEST_DATA) + "/speech/7_theo_0.flac"));
  const AudioClip clip = Read();
  EXPECT_EQ(clip.sample_rate, 8000);
  EXPECT_EQ(clip.samples.size(), 3428u);
}

TEST_F(OpenPipeTest, FormatsThatAreNotReadAreNoSamples) {
  Send(std::string("\0\0\0\x1c", 4) + "ftypM4A " + std::string(1000, '\0'));
  EXPECT_THAT([&] { Read(); }, ThrowsMessage<Error>(HasSubstr("MP4")));
}

TEST_F(OpenPipeTest, EndsWhenItIsTold) {
  const int stop = eventfd(0, 0);
  Send(Wav(Samples(), 16000).substr(44), /*close_it=*/false);
  writer_.join();
  std::thread teller([&] {
    usleep(50'000);
    const uint64_t one = 1;
    ASSERT_EQ(write(stop, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  });
  EXPECT_EQ(Read(stop).samples.size(), 3000u);
  teller.join();
  close(stop);
  close(ends_[1]);
}

}  // namespace
}  // namespace rondo
