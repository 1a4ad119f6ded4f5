#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "audio/sound_decoder.h"
#include "base/warn.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Full scale is 1; programs that forget to scale integers leave up to 2^31. Filters and powers of
// more would overflow.
constexpr float kMaxSample = 0x1p32f;

constexpr int kMaxChannels = 64;
constexpr int kMaxRate = 768000;
constexpr sf_count_t kBlockFrames = 4096;
constexpr sf_count_t kUnknownLength = sf_count_t{1} << 60;

SoundBytes& Of(void* self) { return *static_cast<SoundBytes*>(self); }

sf_count_t Seek(sf_count_t offset, int whence, void* self) {
  SoundBytes& bytes = Of(self);
  const sf_count_t base = whence == SEEK_CUR   ? bytes.position()
                          : whence == SEEK_END ? bytes.Length()
                                               : 0;
  return bytes.SeekTo(base + offset);
}

sf_count_t Read(void* out, sf_count_t count, void* self) {
  if (count <= 0) return 0;
  const std::span<std::byte> room(static_cast<std::byte*>(out), static_cast<size_t>(count));
  return static_cast<sf_count_t>(Of(self).Read(room));
}

SF_VIRTUAL_IO kBytesIo = {[](void* self) -> sf_count_t { return Of(self).Length(); }, Seek, Read,
                          [](const void*, sf_count_t, void*) -> sf_count_t { return 0; },
                          [](void* self) -> sf_count_t { return Of(self).position(); }};

SF_INFO InfoOf(const RawSound& raw) {
  constexpr int kSubtypes[] = {SF_FORMAT_PCM_U8, SF_FORMAT_PCM_16, SF_FORMAT_PCM_24,
                               SF_FORMAT_PCM_32, SF_FORMAT_FLOAT,  SF_FORMAT_DOUBLE,
                               SF_FORMAT_ALAW,   SF_FORMAT_ULAW};
  SF_INFO info = {};
  info.samplerate = raw.rate;
  info.channels = raw.channels;
  info.format = SF_FORMAT_RAW | kSubtypes[static_cast<size_t>(raw.kind)] | SF_ENDIAN_LITTLE;
  return info;
}

// The most frames that so many bytes can hold; decoders of headers that promise more give zeros.
int64_t MostFrames(const SF_INFO& info, int64_t bytes) {
  switch (info.format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_VORBIS:
    case SF_FORMAT_OPUS:
    case SF_FORMAT_ALAC_16:
    case SF_FORMAT_ALAC_20:
    case SF_FORMAT_ALAC_24:
    case SF_FORMAT_ALAC_32:
    case SF_FORMAT_MPEG_LAYER_I:
    case SF_FORMAT_MPEG_LAYER_II:
    case SF_FORMAT_MPEG_LAYER_III:
      return kUnknownLength;
    default:
      break;
  }
  if ((info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_FLAC || bytes >= kUnknownLength) {
    return kUnknownLength;
  }
  return (bytes / info.channels + 1) * 8;  // no other format spends less than a bit a sample
}

class SndfileDecoder : public SoundDecoder {
 public:
  SndfileDecoder(std::unique_ptr<SoundBytes> bytes, std::string name, std::optional<RawSound> raw)
      : bytes_(std::move(bytes)), name_(std::move(name)), mix_(name_) {
    if (raw) info_ = InfoOf(*raw);
    sound_.reset(sf_open_virtual(&kBytesIo, SFM_READ, &info_, bytes_.get()));
    if (sound_ == nullptr) {
      std::string reason = sf_strerror(nullptr);
      while (!reason.empty() && (reason.back() == '.' || reason.back() == '\n')) reason.pop_back();
      Fail("not readable as sound: " + reason, "WAV, AIFF, FLAC, Ogg Vorbis, Opus or MP3");
    }
    if (info_.channels < 1 || info_.channels > kMaxChannels) {
      Fail(std::to_string(info_.channels) + " channels", "1 to 64");
    }
    if (info_.samplerate < 1 || info_.samplerate > kMaxRate) {
      Fail("sampling rate " + std::to_string(info_.samplerate), "1 to 768000 Hz");
    }
    interleaved_.resize(static_cast<size_t>(kBlockFrames * info_.channels));
    most_frames_ = MostFrames(info_, bytes_->Length());
  }

  int rate() const override { return info_.samplerate; }

  SoundBlock NextBlock() override {
    const int64_t left = std::min(most_frames_, std::max<int64_t>(0, info_.frames)) - mix_.frames();
    const sf_count_t wanted = std::min<int64_t>(kBlockFrames, left);
    const sf_count_t count =
        wanted > 0 ? sf_readf_float(sound_.get(), interleaved_.data(), wanted) : 0;
    if (const int error = sf_error(sound_.get()); error != 0) {
      // A recorder that was killed leaves no length and half a block at the end.
      const bool open_end = info_.frames >= kUnknownLength && mix_.frames() + count > 0;
      if (!open_end) Fail(std::string("damaged: ") + sf_error_number(error), Expected());
      Note(name_ + ": cannot be read beyond sample " + std::to_string(mix_.frames() + count) +
           "; read as far as it goes");
      most_frames_ = mix_.frames() + count;
    }
    if (count <= 0) {
      NoteLength();
      return {};
    }
    const auto values = static_cast<size_t>(count * info_.channels);
    return {mix_.Mix(std::span(interleaved_).first(values), info_.channels), info_.samplerate};
  }

 private:
  std::string Expected() const {
    if (info_.frames >= kUnknownLength) return "sound to its end";
    return std::to_string(info_.frames) + " samples; there are " + std::to_string(mix_.frames());
  }
  // Sound whose length stands in its header just stops where it is cut.
  void NoteLength() const {
    if (info_.frames <= 0 || info_.frames >= kUnknownLength || mix_.frames() >= info_.frames)
      return;
    if (mix_.frames() == 0) Fail("damaged: no sample can be read", Expected());
    Note(name_ + ": ends after " + std::to_string(mix_.frames()) + " of " +
         std::to_string(info_.frames) + " samples; read as far as it goes");
  }
  [[noreturn]] void Fail(std::string problem, std::string expected) const {
    throw Error({.function = "DecodeAudio",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = name_});
  }

  std::unique_ptr<SoundBytes> bytes_;  // libsndfile keeps its address
  std::string name_;
  MixDown mix_;
  SF_INFO info_ = {};
  std::unique_ptr<SNDFILE, int (*)(SNDFILE*)> sound_{nullptr, sf_close};
  std::vector<float> interleaved_;
  int64_t most_frames_ = 0;
};

}  // namespace

size_t RawSound::FrameBytes() const {
  constexpr size_t kBytes[] = {1, 2, 3, 4, 4, 8, 1, 1};
  return kBytes[static_cast<size_t>(kind)] * static_cast<size_t>(channels);
}

std::span<const float> MixDown::Mix(std::span<const float> interleaved, int channels) {
  const auto width = static_cast<size_t>(channels);
  mono_.resize(interleaved.size() / width);
  const float scale = 1.0f / static_cast<float>(channels);
  for (size_t i = 0; i < mono_.size(); ++i) {
    float sum = 0;
    for (size_t c = 0; c < width; ++c) sum += interleaved[i * width + c];
    mono_[i] = channels == 1 ? sum : sum * scale;
    if (std::abs(mono_[i]) <= kMaxSample) continue;
    throw Error({.function = "DecodeAudio",
                 .problem = "sample " + std::to_string(frames_ + static_cast<int64_t>(i)) +
                            (std::isfinite(mono_[i]) ? " is out of all proportion"
                                                     : " is no finite number"),
                 .expected = "samples in [-1, 1]",
                 .file = name_});
  }
  frames_ += std::ssize(mono_);
  return mono_;
}

std::unique_ptr<SoundDecoder> OpenWithSndfile(std::unique_ptr<SoundBytes> bytes, std::string name,
                                              std::optional<RawSound> raw) {
  return std::make_unique<SndfileDecoder>(std::move(bytes), std::move(name), raw);
}

}  // namespace rondo
