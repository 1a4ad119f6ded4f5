// Decoders of one piece of sound, in blocks of mono samples at the rate that it has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "audio/resampling_source.h"
#include "audio/sound_bytes.h"

namespace rondo {

class SoundDecoder {
 public:
  virtual ~SoundDecoder() = default;
  virtual int rate() const = 0;  // of the first block
  // Throws rondo::Error naming the recording for damaged data and samples that are no numbers.
  virtual SoundBlock NextBlock() = 0;
};

// Sound without a header.
struct RawSound {
  enum class Kind { kU8, kS16, kS24, kS32, kF32, kF64, kALaw, kULaw };
  Kind kind = Kind::kS16;  // little-endian
  int channels = 1;
  int rate = 16000;
  size_t FrameBytes() const;
};

// What libsndfile reads; `raw` for bytes that have no header. `name` is for errors.
std::unique_ptr<SoundDecoder> OpenWithSndfile(std::unique_ptr<SoundBytes> bytes, std::string name,
                                              std::optional<RawSound> raw = {});
// MP3, and MPEG's layers I and II, through libmpg123. Their lengths are not asked for: without a
// header that counts frames they are guesses from the first frames' bit rate.
std::unique_ptr<SoundDecoder> OpenMpeg(std::unique_ptr<SoundBytes> bytes, std::string name);

// Averages channels of interleaved samples.
class MixDown {
 public:
  explicit MixDown(std::string name) : name_(std::move(name)) {}
  // The view lives until the next call. Throws for what is no finite number.
  std::span<const float> Mix(std::span<const float> interleaved, int channels);
  int64_t frames() const { return frames_; }  // so far

 private:
  std::string name_;
  std::vector<float> mono_;
  int64_t frames_ = 0;
};

}  // namespace rondo
