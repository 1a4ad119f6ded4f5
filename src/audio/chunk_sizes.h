// Sizes in the headers of WAV, RF64, AIFF, CAF and AU files, held against the size of the file. A
// recorder that was killed leaves 0, a writer to a pipe the largest number or 0, and some writers
// are wrong by a few bytes. Programs play what is there, and so does rondo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audio/sound_bytes.h"

namespace rondo {

struct SizedSound {
  std::span<const std::byte> bytes;  // of this file alone
  std::vector<BytePatch> patches;    // of the sizes in its header
  std::string note;                  // empty: all is there
};

// `bytes` begin a RIFF, RIFX, RF64 or BW64 file of type WAVE. Other such files may follow it.
SizedSound CompleteRiff(std::span<const std::byte> bytes);

// AIFF, CAF and AU; false for other formats.
bool CompleteOther(std::span<const std::byte> bytes, SizedSound* sound);

// From here on a size of 32 bits means that the writer did not know it (sox and espeak-ng leave
// 0x7ffff000, arecord 0x80000000, ffmpeg 0xffffffff).
constexpr uint64_t kUnknownSize = 0x7ffff000;

// What a user should know about a sound of `declared` bytes of which `there` are there; empty when
// that is all of it.
std::string SizeNote(uint64_t declared, uint64_t there);

}  // namespace rondo
