#include "audio/sound_parts.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "audio/chunk_sizes.h"
#include "audio/mpeg_frames.h"

namespace rondo {
namespace {

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Magic {
  size_t at;
  std::string_view text;
};

// Formats that libsndfile knows by their first bytes.
constexpr std::array<Magic, 14> kReadable = {{{0, "RIFF"},
                                              {0, "RIFX"},
                                              {0, "RF64"},
                                              {0, "BW64"},
                                              {0, "FORM"},
                                              {0, "fLaC"},
                                              {0, "ID3"},
                                              {0, "OggS"},
                                              {0, "caff"},
                                              {0, ".snd"},
                                              {0, "dns."},
                                              {0, "NIST_1A"},
                                              {0, "Creative Voice File"},
                                              {0, "riff\x2e\x91\xcf\x11"}}};

bool Begins(std::span<const std::byte> bytes, const Magic& magic) {
  const std::string_view text = TextOf(bytes);
  return text.size() >= magic.at && text.substr(magic.at).starts_with(magic.text);
}

constexpr size_t kOggHeader = 27;
constexpr size_t kMpegWithin = 4096;  // bytes that may stand before an MP3 file's first frame

// Ogg pages (RFC 3533): a chained file begins anew where a first page follows one that is none.
// What is cut off in its last page is left out, since decoders look for the length in that page.
void SplitOgg(std::span<const std::byte> bytes, SoundParts* result) {
  const std::string_view text = TextOf(bytes);
  constexpr unsigned kFirstPage = 2;
  std::vector<size_t> begins = {0};
  bool first_pages = true;  // only first pages so far: streams side by side
  size_t whole = 0;         // up to the end of the last whole page
  for (size_t at = 0; at != std::string_view::npos && at + kOggHeader <= bytes.size();) {
    const size_t segments = std::to_integer<size_t>(bytes[at + 26]);
    size_t end = at + kOggHeader + segments;
    if (end > bytes.size()) break;
    for (size_t i = 0; i < segments; ++i) {
      end += std::to_integer<size_t>(bytes[at + kOggHeader + i]);
    }
    if (end > bytes.size()) break;
    const bool first = (std::to_integer<unsigned>(bytes[at + 5]) & kFirstPage) != 0;
    if (first && !first_pages) begins.push_back(at);
    first_pages = first;
    whole = end;
    at = text.find("OggS", end);
  }
  if (whole == 0) whole = bytes.size();
  if (whole < bytes.size() && text.find("OggS", whole) != std::string_view::npos) {
    result->notes.push_back("the last page is cut off; read as far as it goes");
  }
  for (size_t i = 0; i < begins.size(); ++i) {
    const size_t end = i + 1 < begins.size() ? begins[i + 1] : whole;
    result->parts.push_back({.bytes = bytes.subspan(begins[i], end - begins[i])});
  }
}

// Each file begins with its mark and the header of its first block, which has 34 bytes.
void SplitFlac(std::span<const std::byte> bytes, SoundParts* result) {
  using std::string_view_literals::operator""sv;
  const std::string_view text = TextOf(bytes);
  for (size_t begin = 0; begin < bytes.size();) {
    size_t end = text.find("fLaC", begin + 4);
    while (end != std::string_view::npos && text.substr(end + 5, 3) != "\0\0\x22"sv) {
      end = text.find("fLaC", end + 4);
    }
    end = std::min(end, bytes.size());
    result->parts.push_back({.bytes = bytes.subspan(begin, end - begin)});
    begin = end;
  }
}

void SplitMpegFile(std::span<const std::byte> bytes, SoundParts* result) {
  for (const MpegPart& part : SplitMpeg(bytes)) {
    result->parts.push_back({.decoder = SoundPart::Decoder::kMpeg,
                             .bytes = bytes.subspan(part.begin, part.end - part.begin)});
    if (part.missing_frames == 0) continue;
    result->notes.push_back("ends " + std::to_string(part.missing_frames) +
                            " MP3 frames before the end that its header counts; read as far as it "
                            "goes");
  }
}

}  // namespace

SoundParts FindSoundParts(std::span<const std::byte> bytes) {
  SoundParts result;
  if (Begins(bytes, {0, "OggS"})) {
    SplitOgg(bytes, &result);
  } else if (Begins(bytes, {0, "fLaC"})) {
    SplitFlac(bytes, &result);
  } else if (Begins(bytes, {8, "WAVE"})) {
    for (size_t at = 0; at < bytes.size();) {
      SizedSound sound = CompleteRiff(bytes.subspan(at));
      result.parts.push_back({.bytes = sound.bytes, .patches = std::move(sound.patches)});
      if (!sound.note.empty()) result.notes.push_back(sound.note);
      at += sound.bytes.size();
    }
  } else if (SizedSound sound; CompleteOther(bytes, &sound)) {
    result.parts.push_back({.bytes = sound.bytes, .patches = std::move(sound.patches)});
    if (!sound.note.empty()) result.notes.push_back(sound.note);
  } else if (IsMpeg(bytes, kMpegWithin)) {
    SplitMpegFile(bytes, &result);
  } else {
    result.parts.push_back({.bytes = bytes});
  }
  return result;
}

std::string UnreadableFormat(std::span<const std::byte> bytes) {
  constexpr std::array<std::pair<Magic, const char*>, 7> kUnreadable = {{
      {{4, "ftyp"}, "MP4 (M4A, AAC or ALAC)"},
      {{0, "\x1a\x45\xdf\xa3"}, "WebM or Matroska"},
      {{0, "#!AMR"}, "AMR"},
      {{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"}, "ASF (WMA)"},
      {{0, "\xff\xf1"}, "AAC"},
      {{0, "\xff\xf9"}, "AAC"},
      {{0, "ajkg"}, "Shorten"},
  }};
  for (const auto& [magic, name] : kUnreadable) {
    if (Begins(bytes, magic)) return name;
  }
  return {};
}

bool IsSoundFile(std::span<const std::byte> bytes) {
  for (const Magic& magic : kReadable) {
    if (Begins(bytes, magic)) return true;
  }
  return IsMpeg(bytes);
}

}  // namespace rondo
