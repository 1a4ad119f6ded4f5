#include <utility>

#include "audio/sound_decoder.h"
#include "audio/sound_parts.h"
#include "base/warn.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// The parts of a recording, one behind the other.
class FileSource : public ResamplingSource {
 public:
  FileSource(std::vector<SoundPart> parts, std::unique_ptr<SoundDecoder> first,
             std::shared_ptr<const void> owner, std::string name, int sample_rate)
      : ResamplingSource(sample_rate > 0 ? sample_rate : first->rate()),
        parts_(std::move(parts)),
        owner_(std::move(owner)),
        name_(std::move(name)),
        decoder_(std::move(first)) {}

  static std::unique_ptr<SoundDecoder> Decoder(const SoundPart& part,
                                               std::shared_ptr<const void> owner,
                                               const std::string& name) {
    auto bytes = std::make_unique<MemoryBytes>(part.bytes, std::move(owner), part.patches);
    return part.decoder == SoundPart::Decoder::kMpeg ? OpenMpeg(std::move(bytes), name)
                                                     : OpenWithSndfile(std::move(bytes), name);
  }

 protected:
  SoundBlock NextBlock() override {
    while (true) {
      const SoundBlock block = decoder_->NextBlock();
      any_ = any_ || !block.samples.empty();
      if (!block.samples.empty() || ++part_ >= parts_.size()) {
        if (!any_) Note(name_ + ": holds no sound that can be read");
        return block;
      }
      decoder_ = Decoder(parts_[part_], owner_, name_);
    }
  }

 private:
  std::vector<SoundPart> parts_;
  std::shared_ptr<const void> owner_;
  std::string name_;
  std::unique_ptr<SoundDecoder> decoder_;
  size_t part_ = 0;
  bool any_ = false;  // whether there was a sample
};

}  // namespace

std::unique_ptr<AudioSource> DecodeAudio(std::span<const std::byte> bytes,
                                         std::shared_ptr<const void> owner, const std::string& name,
                                         int sample_rate) {
  const auto fail = [&](std::string problem, std::string expected) {
    throw Error({.function = "DecodeAudio",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = name});
  };
  if (bytes.empty()) fail("empty", "a sound file");
  if (const std::string format = UnreadableFormat(bytes); !format.empty()) {
    fail("not readable as sound: " + format,
         "WAV, AIFF, FLAC, Ogg Vorbis, Opus or MP3; ffmpeg converts: ffmpeg -i FILE out.wav");
  }
  SoundParts found = FindSoundParts(bytes);
  auto first = FileSource::Decoder(found.parts.front(), owner, name);
  for (const std::string& note : found.notes) Note(name + ": " + note);
  return std::make_unique<FileSource>(std::move(found.parts), std::move(first), std::move(owner),
                                      name, sample_rate);
}

}  // namespace rondo
