// Frames of MPEG audio (ISO 11172-3 and 13818-3), enough to tell where one file ends and another
// one, stitched to it, begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rondo {

struct MpegFrame {
  size_t bytes = 0;
  int samples = 0;
  size_t side_info = 0;  // bytes of header and side information; where a Xing header would stand
};

// The frame that begins `bytes`; nullopt for anything else, frames of a free bit rate included.
std::optional<MpegFrame> ParseMpegFrame(std::span<const std::byte> bytes);

// Whether `bytes` begin with three frames in a row, perhaps behind an ID3 tag or up to `within`
// other bytes.
bool IsMpeg(std::span<const std::byte> bytes, size_t within = 0);

struct MpegPart {
  size_t begin = 0, end = 0;
  // Frames that a Xing header counts and that are not there.
  int64_t missing_frames = 0;
};

// A file as the MP3 files that it is stitched from: each begins with a Xing, Info or VBRI header,
// or with an ID3 tag. Never empty.
std::vector<MpegPart> SplitMpeg(std::span<const std::byte> bytes);

}  // namespace rondo
