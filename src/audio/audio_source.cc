#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>
#include <utility>

#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int kMaxChannels = 64;
constexpr int kMaxRate = 768000;
constexpr size_t kBlockFrames = 4096;
// Full scale is 1; programs that forget to scale integers leave up to 2^31. Filters and powers of
// more would overflow.
constexpr float kMaxSample = 0x1p32f;

// Turns blocks at one rate into any number of samples at another.
class ResamplingSource : public AudioSource {
 public:
  ResamplingSource(int from, int to) : resampler_(from, to), rate_(to) {}
  int sample_rate() const final { return rate_; }

  size_t Read(std::span<float> out) final {
    while (begin_ == ready_.size() && !ended_) {
      ready_.clear();
      begin_ = 0;
      const std::span<const float> block = NextBlock();
      if (block.empty()) {
        ended_ = true;
        resampler_.Finish(ready_);
      } else {
        resampler_.Push(block, ready_);
      }
    }
    const size_t count = std::min(out.size(), ready_.size() - begin_);
    std::copy_n(ready_.begin() + static_cast<ptrdiff_t>(begin_), count, out.begin());
    begin_ += count;
    return count;
  }

 protected:
  // Some mono samples at the source's own rate; empty at the end.
  virtual std::span<const float> NextBlock() = 0;

 private:
  Resampler resampler_;
  int rate_;
  std::vector<float> ready_;
  size_t begin_ = 0;
  bool ended_ = false;
};

// What libsndfile reads from.
struct MemoryFile {
  MemoryFile(std::span<const std::byte> b, std::shared_ptr<const void> o)
      : bytes(b), owner(std::move(o)) {}
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  sf_count_t position = 0;

  static MemoryFile& Of(void* self) { return *static_cast<MemoryFile*>(self); }
  static sf_count_t Length(void* self) { return std::ssize(Of(self).bytes); }
  static sf_count_t Tell(void* self) { return Of(self).position; }
  static sf_count_t Seek(sf_count_t offset, int whence, void* self) {
    MemoryFile& file = Of(self);
    const sf_count_t base = whence == SEEK_CUR   ? file.position
                            : whence == SEEK_END ? std::ssize(file.bytes)
                                                 : 0;
    file.position = std::clamp<sf_count_t>(base + offset, 0, std::ssize(file.bytes));
    return file.position;
  }
  static sf_count_t Read(void* out, sf_count_t count, void* self) {
    MemoryFile& file = Of(self);
    const sf_count_t size =
        std::clamp<sf_count_t>(count, 0, std::ssize(file.bytes) - file.position);
    std::memcpy(out, file.bytes.data() + file.position, static_cast<size_t>(size));
    file.position += size;
    return size;
  }
  static sf_count_t Write(const void*, sf_count_t, void*) { return 0; }
};

SF_VIRTUAL_IO kMemoryIo = {MemoryFile::Length, MemoryFile::Seek, MemoryFile::Read,
                           MemoryFile::Write, MemoryFile::Tell};

struct OpenSound {
  std::unique_ptr<MemoryFile> file;  // libsndfile keeps its address
  std::unique_ptr<SNDFILE, int (*)(SNDFILE*)> sound{nullptr, sf_close};
  SF_INFO info = {};
};

// libsndfile accepts a RIFF file that ends before its data does, and only its log tells.
bool DataCutShort(const OpenSound& open) {
  const int format = open.info.format & SF_FORMAT_TYPEMASK;
  if (format != SF_FORMAT_WAV && format != SF_FORMAT_WAVEX && format != SF_FORMAT_AIFF)
    return false;
  std::array<char, 8192> log = {};
  sf_command(open.sound.get(), SFC_GET_LOG_INFO, log.data(), static_cast<int>(log.size()) - 1);
  const std::string_view text(log.data());
  const size_t data = std::min(text.find("data :"), text.find("SSND :"));
  if (data == std::string_view::npos) return false;
  const std::string_view line = text.substr(data, text.find('\n', data) - data);
  if (line.find("should be") == std::string_view::npos) return false;
  // A writer to a pipe does not know the length and leaves a number near the largest of 31 or 32
  // bits (sox and espeak-ng 0x7ffff000).
  const size_t digit = std::min(line.find_first_of("0123456789"), line.size());
  uint64_t declared = 0;
  std::from_chars(line.data() + digit, line.data() + line.size(), declared);
  return declared < 0x7ffff000;
}

OpenSound OpenWithSndfile(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                          const std::string& name) {
  const auto fail = [&](std::string problem, std::string expected) {
    throw Error({.function = "DecodeAudio",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = name});
  };
  OpenSound open;
  if (bytes.empty()) fail("empty", "a sound file");
  open.file = std::make_unique<MemoryFile>(bytes, std::move(owner));
  open.sound.reset(sf_open_virtual(&kMemoryIo, SFM_READ, &open.info, open.file.get()));
  if (open.sound == nullptr) {
    std::string reason = sf_strerror(nullptr);
    while (!reason.empty() && (reason.back() == '.' || reason.back() == '\n')) reason.pop_back();
    fail("not readable as sound: " + reason, "WAV, AIFF, FLAC, Ogg Vorbis, Opus or MP3");
  }
  if (open.info.channels < 1 || open.info.channels > kMaxChannels) {
    fail(std::to_string(open.info.channels) + " channels", "1 to 64");
  }
  if (open.info.samplerate < 1 || open.info.samplerate > kMaxRate) {
    fail("sampling rate " + std::to_string(open.info.samplerate), "1 to 768000 Hz");
  }
  if (DataCutShort(open)) fail("the data ends early", "as many samples as the header says");
  return open;
}

class SndfileSource : public ResamplingSource {
 public:
  SndfileSource(OpenSound open, std::string name, int sample_rate)
      : ResamplingSource(open.info.samplerate,
                         sample_rate > 0 ? sample_rate : open.info.samplerate),
        open_(std::move(open)),
        name_(std::move(name)),
        channels_(static_cast<size_t>(open_.info.channels)),
        interleaved_(kBlockFrames * channels_),
        mono_(kBlockFrames) {}

 protected:
  std::span<const float> NextBlock() override {
    const sf_count_t count = sf_readf_float(open_.sound.get(), interleaved_.data(),
                                            static_cast<sf_count_t>(kBlockFrames));
    if (const int error = sf_error(open_.sound.get()); error != 0) {
      Fail(std::string("damaged: ") + sf_error_number(error), "sound to its end");
    }
    if (count <= 0) {
      CheckLength();
      return {};
    }
    frames_ += count;
    MixDown(static_cast<size_t>(count));
    return std::span(mono_).first(static_cast<size_t>(count));
  }

 private:
  // FLAC, Ogg and MP3 with a length in their header just stop where they are cut.
  void CheckLength() const {
    const sf_count_t expected = open_.info.frames;
    constexpr sf_count_t kUnknown = sf_count_t{1} << 60;
    if (expected <= 0 || expected >= kUnknown || frames_ >= expected) return;
    Fail("ends after " + std::to_string(frames_) + " of " + std::to_string(expected) + " samples",
         "a whole file");
  }
  void MixDown(size_t count) {
    const float scale = 1.0f / static_cast<float>(channels_);
    for (size_t i = 0; i < count; ++i) {
      float sum = 0;
      for (size_t c = 0; c < channels_; ++c) sum += interleaved_[i * channels_ + c];
      mono_[i] = channels_ == 1 ? sum : sum * scale;
      if (std::abs(mono_[i]) <= kMaxSample) continue;
      const char* what =
          std::isfinite(mono_[i]) ? " is out of all proportion" : " is no finite number";
      Fail("sample " + std::to_string(frames_ - static_cast<sf_count_t>(count - i)) + what,
           "samples in [-1, 1]");
    }
  }
  [[noreturn]] void Fail(std::string problem, std::string expected) const {
    throw Error({.function = "DecodeAudio",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = name_});
  }

  OpenSound open_;
  std::string name_;
  size_t channels_;
  std::vector<float> interleaved_, mono_;
  sf_count_t frames_ = 0;
};

class PcmSource : public ResamplingSource {
 public:
  PcmSource(int descriptor, std::string name, int pcm_rate, int sample_rate)
      : ResamplingSource(pcm_rate, sample_rate), descriptor_(descriptor), name_(std::move(name)) {}

 protected:
  std::span<const float> NextBlock() override {
    size_t held = 0;
    do {  // until there is one whole sample
      const ssize_t count =
          ::read(descriptor_, bytes_.data() + odd_ + held, bytes_.size() - odd_ - held);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        throw Error({.function = "OpenPcm",
                     .problem = std::generic_category().message(errno),
                     .expected = {},
                     .file = name_});
      }
      if (count == 0) return {};  // a last half sample is dropped
      held += static_cast<size_t>(count);
    } while (odd_ + held < 2);
    const size_t total = odd_ + held, samples = total / 2;
    for (size_t i = 0; i < samples; ++i) {
      const int value = bytes_[2 * i] | bytes_[2 * i + 1] << 8;
      mono_[i] = static_cast<float>(static_cast<int16_t>(value)) / 32768.0f;
    }
    odd_ = total % 2;
    if (odd_ != 0) bytes_[0] = bytes_[total - 1];
    return std::span(mono_).first(samples);
  }

 private:
  int descriptor_;
  std::string name_;
  std::array<uint8_t, 2 * kBlockFrames> bytes_;
  std::array<float, kBlockFrames> mono_;
  size_t odd_ = 0;  // bytes of a sample whose second half has not come
};

}  // namespace

std::unique_ptr<AudioSource> DecodeAudio(std::span<const std::byte> bytes,
                                         std::shared_ptr<const void> owner, const std::string& name,
                                         int sample_rate) {
  return std::make_unique<SndfileSource>(OpenWithSndfile(bytes, std::move(owner), name), name,
                                         sample_rate);
}

std::unique_ptr<AudioSource> OpenPcm(int descriptor, const std::string& name, int pcm_rate,
                                     int sample_rate) {
  return std::make_unique<PcmSource>(descriptor, name, pcm_rate, sample_rate);
}

}  // namespace rondo
