#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "audio/chunk_sizes.h"
#include "audio/sound_decoder.h"
#include "audio/sound_parts.h"
#include "base/warn.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kMagic = 12;  // bytes that tell WAV from bare samples

// Bytes as they come, with some of them read ahead.
class Pipe {
 public:
  Pipe(int descriptor, int stop, std::string name)
      : descriptor_(descriptor), stop_(stop), name_(std::move(name)) {}

  // Reads ahead until there are `count` bytes or no more.
  std::span<const std::byte> Peek(size_t count) {
    while (ahead_.size() < count && !ended_) {
      const size_t before = ahead_.size();
      ahead_.resize(count);
      const size_t got = ReadSome(std::span(ahead_).subspan(before));
      ahead_.resize(before + got);
    }
    return ahead_;
  }
  std::vector<std::byte> TakeAll() {
    for (size_t size = 1 << 16; !ended_; size *= 2) Peek(size);
    return std::exchange(ahead_, {});
  }
  void Drop(size_t count) {
    ahead_.erase(ahead_.begin(), ahead_.begin() + static_cast<ptrdiff_t>(count));
  }
  // What was read ahead first, then what has arrived; 0 at the end.
  size_t Read(std::span<std::byte> out) {
    if (ahead_.empty()) return ReadSome(out);
    const size_t count = std::min(out.size(), ahead_.size());
    std::copy_n(ahead_.begin(), count, out.begin());
    Drop(count);
    return count;
  }
  bool stopped() const { return stopped_; }
  const std::string& name() const { return name_; }

 private:
  size_t ReadSome(std::span<std::byte> out) {
    while (!ended_ && !out.empty()) {
      std::array<pollfd, 2> wait = {{{descriptor_, POLLIN, 0}, {stop_, POLLIN, 0}}};
      if (poll(wait.data(), stop_ >= 0 ? 2 : 1, -1) < 0 && errno != EINTR) FailWith(errno);
      stopped_ = stop_ >= 0 && wait[1].revents != 0;
      ended_ = stopped_;
      if (ended_ || wait[0].revents == 0) continue;
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count < 0) FailWith(errno);
      ended_ = count == 0;
      return static_cast<size_t>(count);
    }
    return 0;
  }
  [[noreturn]] void FailWith(int error) const {
    throw Error({.function = "OpenPipe",
                 .problem = std::generic_category().message(error),
                 .expected = {},
                 .file = name_});
  }

  int descriptor_, stop_;
  std::string name_;
  std::vector<std::byte> ahead_;
  bool ended_ = false, stopped_ = false;
};

// Whole frames of bare samples from a pipe, as many as have arrived, up to `most` bytes.
class PipeBytes : public SoundBytes {
 public:
  PipeBytes(std::unique_ptr<Pipe> pipe, size_t frame, uint64_t most)
      : pipe_(std::move(pipe)), frame_(frame), most_(most) {}
  int64_t Length() const override { return int64_t{1} << 62; }  // not known
  int64_t position() const override { return position_; }
  int64_t SeekTo(int64_t) override { return position_; }  // bare samples are read in order

  size_t Read(std::span<std::byte> out) override {
    const auto left = static_cast<uint64_t>(most_ - static_cast<uint64_t>(position_));
    out = out.first(static_cast<size_t>(std::min<uint64_t>(out.size() / frame_ * frame_, left)));
    size_t count = std::min(out.size(), part_.size());
    std::copy_n(part_.begin(), count, out.begin());
    part_.erase(part_.begin(), part_.begin() + static_cast<ptrdiff_t>(count));
    while (count < frame_ && count < out.size()) {
      const size_t got = pipe_->Read(out.subspan(count));
      if (got == 0) break;
      count += got;
    }
    const size_t whole = count / frame_ * frame_;  // a last part of a frame is dropped
    part_.assign(out.begin() + static_cast<ptrdiff_t>(whole),
                 out.begin() + static_cast<ptrdiff_t>(count));
    position_ += static_cast<int64_t>(whole);
    if (whole == 0) NoteLength();
    return whole;
  }

 private:
  void NoteLength() const {
    const auto there = static_cast<uint64_t>(position_);
    if (there == 0 && !pipe_->stopped()) Note(pipe_->name() + ": holds no sound");
    if (most_ >= kUnknownSize || pipe_->stopped()) return;
    if (const std::string note = SizeNote(most_, there); !note.empty()) {
      Note(pipe_->name() + ": " + note);
    }
  }

  std::unique_ptr<Pipe> pipe_;
  size_t frame_;
  uint64_t most_;
  std::vector<std::byte> part_;  // of a frame whose rest has not come
  int64_t position_ = 0;
};

class PipeSource : public ResamplingSource {
 public:
  PipeSource(std::unique_ptr<SoundDecoder> decoder, int sample_rate)
      : ResamplingSource(sample_rate > 0 ? sample_rate : decoder->rate()),
        decoder_(std::move(decoder)) {}

 protected:
  SoundBlock NextBlock() override { return decoder_->NextBlock(); }

 private:
  std::unique_ptr<SoundDecoder> decoder_;
};

uint64_t Number(std::span<const std::byte> bytes, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(bytes[at + i]);
  return value;
}

// What a "fmt " chunk says, where it is of bare samples.
std::optional<RawSound> ParseFormat(std::span<const std::byte> body) {
  using Kind = RawSound::Kind;
  if (body.size() < 16) return {};
  uint64_t tag = Number(body, 0, 2);
  const uint64_t bits = Number(body, 14, 2);
  if (tag == 0xfffe && body.size() >= 26) tag = Number(body, 24, 2);
  RawSound raw{.channels = static_cast<int>(Number(body, 2, 2)),
               .rate = static_cast<int>(std::min<uint64_t>(Number(body, 4, 4), 1 << 30))};
  if (tag == 1 && bits == 8) {
    raw.kind = Kind::kU8;
  } else if (tag == 1 && bits == 16) {
    raw.kind = Kind::kS16;
  } else if (tag == 1 && bits == 24) {
    raw.kind = Kind::kS24;
  } else if (tag == 1 && bits == 32) {
    raw.kind = Kind::kS32;
  } else if (tag == 3 && (bits == 32 || bits == 64)) {
    raw.kind = bits == 32 ? Kind::kF32 : Kind::kF64;
  } else if (tag == 6 || tag == 7) {
    raw.kind = tag == 6 ? Kind::kALaw : Kind::kULaw;
  } else {
    return {};
  }
  const bool packed = Number(body, 12, 2) == raw.FrameBytes();
  return packed && raw.channels > 0 && raw.rate > 0 ? std::optional(raw) : std::nullopt;
}

struct PipedWav {
  RawSound sound;
  size_t header = 0;  // bytes before the samples
  uint64_t bytes = 0;
};

// The header of a WAV file whose samples can be read as they come; nullopt for other kinds, which
// are read as a whole.
std::optional<PipedWav> PeekWav(Pipe& pipe) {
  constexpr size_t kMostHeader = size_t{1} << 24;
  std::optional<RawSound> sound;
  uint64_t wide = 0;
  for (size_t at = kMagic; at < kMostHeader;) {
    std::span<const std::byte> head = pipe.Peek(at + 8);
    if (head.size() < at + 8) return {};
    const std::string_view name(reinterpret_cast<const char*>(head.data()) + at, 4);
    const uint64_t size = Number(head, at + 4, 4);
    if (name == "data") {
      if (!sound) return {};
      const uint64_t told = size == 0xffffffff && wide > 0 ? wide : size;
      const bool known = told > 0 && (told == wide || told < kUnknownSize);
      return PipedWav{*sound, at + 8, known ? told : ~uint64_t{0} >> 2};
    }
    const bool is_format = name == "fmt ", is_wide = name == "ds64" && size >= 16;
    const size_t end = at + 8 + static_cast<size_t>(size + size % 2);
    if (end > kMostHeader) return {};
    head = pipe.Peek(end);
    if (head.size() < end) return {};
    const std::span<const std::byte> body = head.subspan(at + 8, static_cast<size_t>(size));
    if (is_format) sound = ParseFormat(body);
    if (is_wide) wide = Number(body, 8, 8);
    at = end;
  }
  return {};
}

bool IsLittleEndianWav(std::span<const std::byte> head) {
  if (head.size() < kMagic || std::memcmp(head.data() + 8, "WAVE", 4) != 0) return false;
  const std::string_view kind(reinterpret_cast<const char*>(head.data()), 4);
  return kind == "RIFF" || kind == "RF64" || kind == "BW64";
}

}  // namespace

std::unique_ptr<AudioSource> OpenPipe(int descriptor, const std::string& name, int pcm_rate,
                                      int sample_rate, int stop) {
  auto pipe = std::make_unique<Pipe>(descriptor, stop, name);
  const auto bare = [&](const RawSound& sound, uint64_t bytes) {
    auto source = std::make_unique<PipeBytes>(std::move(pipe), sound.FrameBytes(), bytes);
    return std::make_unique<PipeSource>(OpenWithSndfile(std::move(source), name, sound),
                                        sample_rate);
  };
  std::span<const std::byte> head = pipe->Peek(kMagic);
  if (IsLittleEndianWav(head)) {
    if (const std::optional<PipedWav> wav = PeekWav(*pipe)) {
      pipe->Drop(wav->header);
      return bare(wav->sound, wav->bytes);
    }
    head = pipe->Peek(kMagic);
  }
  // MP3 without a tag begins with eleven ones; more has to come to tell it from samples.
  const bool maybe_mpeg = head.size() >= 4 && std::to_integer<int>(head[0]) == 0xff &&
                          (std::to_integer<int>(head[1]) & 0xe0) == 0xe0;
  if (maybe_mpeg) head = pipe->Peek(kSoundFileHead);
  if (IsSoundFile(head) || !UnreadableFormat(head).empty()) {
    const auto whole = std::make_shared<const std::vector<std::byte>>(pipe->TakeAll());
    return DecodeAudio(*whole, whole, name, sample_rate);
  }
  return bare({.rate = pcm_rate}, ~uint64_t{0} >> 2);
}

}  // namespace rondo
