// What a recording consists of: several files one behind the other in some cases, and headers that
// say something else than what is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "audio/sound_bytes.h"

namespace rondo {

struct SoundPart {
  enum class Decoder { kSndfile, kMpeg };
  Decoder decoder = Decoder::kSndfile;
  std::span<const std::byte> bytes;
  std::vector<BytePatch> patches;  // of a header that was never completed
};

struct SoundParts {
  std::vector<SoundPart> parts;    // never empty
  std::vector<std::string> notes;  // what a user has to know: what is missing, what was not said
};

// Told by content. Stitched MP3, chained Ogg streams and RIFF files one behind the other are their
// parts; WAV, RF64, AIFF, CAF and AU files whose header says 0 bytes, or more than there are, are
// read as far as they go (chunk_sizes.h).
SoundParts FindSoundParts(std::span<const std::byte> bytes);

// The format of bytes that no decoder here reads, as "MP4 (AAC or ALAC)"; empty for all others.
std::string UnreadableFormat(std::span<const std::byte> bytes);
// Whether bytes begin as a known format does, so that they are no bare samples.
bool IsSoundFile(std::span<const std::byte> bytes);
// Enough bytes to ask the two above.
constexpr size_t kSoundFileHead = 8192;

}  // namespace rondo
