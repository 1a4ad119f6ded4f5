#include "audio/mpeg_frames.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace rondo {
namespace {

// kbit/s by layer (of MPEG 1: I, II, III; of MPEG 2: I, II and III).
constexpr std::array<std::array<int, 15>, 5> kBitRates = {{
    {0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
    {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
    {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
    {0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
    {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
}};
constexpr std::array<int, 3> kRates = {44100, 48000, 32000};
constexpr size_t kId3Header = 10;
constexpr size_t kPadding = 4096;  // that may stand behind a tag

unsigned At(std::span<const std::byte> bytes, size_t at) {
  return std::to_integer<unsigned>(bytes[at]);
}

std::string_view TextAt(std::span<const std::byte> bytes, size_t at, size_t count) {
  if (at + count > bytes.size()) return {};
  return {reinterpret_cast<const char*>(bytes.data()) + at, count};
}

// Bytes of an ID3v2 tag at the beginning; 0 when there is none.
size_t Id3Bytes(std::span<const std::byte> bytes) {
  if (TextAt(bytes, 0, 3) != "ID3" || bytes.size() < kId3Header) return 0;
  size_t size = 0;
  for (size_t i = 6; i < kId3Header; ++i) size = size << 7 | (At(bytes, i) & 127);
  const size_t footer = (At(bytes, 5) & 16) != 0 ? kId3Header : 0;
  return std::min(bytes.size(), kId3Header + size + footer);
}

// Whether frames follow each other from here on: at least three, or to the end.
bool FramesBegin(std::span<const std::byte> bytes) {
  size_t at = 0;
  for (int i = 0; i < 3; ++i) {
    const auto frame = ParseMpegFrame(bytes.subspan(at));
    if (!frame) return false;
    at += frame->bytes;
    if (at >= bytes.size()) return true;
  }
  return true;
}

// The number of frames that the file says to have; 0 when it does not say so.
int64_t CountedFrames(std::span<const std::byte> frame, size_t side_info, bool* is_header) {
  const std::string_view mark = TextAt(frame, side_info, 4);
  const bool xing = mark == "Xing" || mark == "Info";
  *is_header = xing || TextAt(frame, 36, 4) == "VBRI";
  if (!xing || side_info + 12 > frame.size() || (At(frame, side_info + 7) & 1) == 0) return 0;
  int64_t frames = 0;
  for (size_t i = 8; i < 12; ++i) frames = frames << 8 | At(frame, side_info + i);
  return frames;
}

}  // namespace

std::optional<MpegFrame> ParseMpegFrame(std::span<const std::byte> bytes) {
  if (bytes.size() < 4 || At(bytes, 0) != 0xFF || (At(bytes, 1) & 0xE0) != 0xE0) return {};
  const unsigned version = At(bytes, 1) >> 3 & 3, layer = 4 - (At(bytes, 1) >> 1 & 3);
  const unsigned bits = At(bytes, 2) >> 4, rate_index = At(bytes, 2) >> 2 & 3;
  if (version == 1 || layer == 4 || bits == 0 || bits == 15 || rate_index == 3) return {};
  const bool first = version == 3;  // MPEG 1
  const size_t table = first ? layer - 1 : layer == 1 ? 3 : 4;
  const int rate = kRates[rate_index] >> (first ? 0 : version == 2 ? 1 : 2);
  const int bit_rate = kBitRates[table][bits] * 1000;
  const int padding = static_cast<int>(At(bytes, 2) >> 1 & 1);
  MpegFrame frame;
  frame.samples = layer == 1 ? 384 : layer == 3 && !first ? 576 : 1152;
  frame.bytes = static_cast<size_t>(layer == 1 ? (12 * bit_rate / rate + padding) * 4
                                               : frame.samples / 8 * bit_rate / rate + padding);
  const bool mono = At(bytes, 3) >> 6 == 3;
  frame.side_info = 4 + (first ? (mono ? 17 : 32) : (mono ? 9 : 17));
  return frame;
}

bool IsMpeg(std::span<const std::byte> bytes, size_t within) {
  // Other formats may stand behind a tag, too.
  const size_t tag = Id3Bytes(bytes);
  if (tag > 0) within = std::max(within, kPadding);
  const size_t end = std::min(bytes.size(), tag + within + 1);
  for (size_t at = tag; at < end; ++at) {
    if (FramesBegin(bytes.subspan(at))) return true;
  }
  return tag > 0 && tag == bytes.size();
}

std::vector<MpegPart> SplitMpeg(std::span<const std::byte> bytes) {
  std::vector<MpegPart> parts = {{.begin = 0, .end = bytes.size()}};
  int64_t counted = 0, frames = 0;  // of the part
  bool any = false;                 // whether the part has a frame yet
  const auto begin_part = [&](size_t at) {
    if (any) {
      parts.back().end = at;
      parts.back().missing_frames = std::max<int64_t>(0, counted - frames);
      parts.push_back({.begin = at, .end = bytes.size()});
    }
    counted = frames = 0;
    any = false;
  };
  bool locked = false;  // whether `at` is where the frame before said that the next one begins
  for (size_t at = 0; at + 4 <= bytes.size();) {
    const std::span<const std::byte> rest = bytes.subspan(at);
    if (const size_t tag = Id3Bytes(rest)) {
      begin_part(at);
      at += tag;
      continue;
    }
    const std::optional<MpegFrame> frame = ParseMpegFrame(rest);
    if (!frame || (!locked && !FramesBegin(rest))) {
      locked = false;
      ++at;
      continue;
    }
    bool is_header = false;
    const size_t size = std::min(frame->bytes, rest.size());
    const int64_t count = CountedFrames(rest.first(size), frame->side_info, &is_header);
    // Frames beyond those that were counted belong to a file without a header.
    const bool beyond = counted > 0 && frames == counted && rest.size() > 10 * frame->bytes;
    if (is_header || beyond) begin_part(at);
    if (is_header) counted = count;
    frames += !is_header && size == frame->bytes;
    any = true;
    locked = true;
    at += frame->bytes;
  }
  parts.back().missing_frames = std::max<int64_t>(0, counted - frames);
  return parts;
}

}  // namespace rondo
