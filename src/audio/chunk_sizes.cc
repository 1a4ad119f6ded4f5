#include "audio/chunk_sizes.h"

#include <algorithm>
#include <cctype>

#include "base/strings.h"

namespace rondo {
namespace {

// Numbers and names of a header, in either order of bytes.
class Header {
 public:
  Header(std::span<const std::byte> bytes, bool big_endian) : bytes_(bytes), big_(big_endian) {}

  size_t size() const { return bytes_.size(); }
  uint64_t Number(size_t at, size_t width) const {
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) {
      const size_t from = at + (big_ ? i : width - 1 - i);
      value = value << 8 | std::to_integer<uint64_t>(bytes_[from]);
    }
    return value;
  }
  std::string_view Name(size_t at) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + at, 4};
  }
  BytePatch Patch(size_t at, size_t width, uint64_t value) const {
    BytePatch patch{.at = at, .bytes = std::string(width, '\0')};
    for (size_t i = 0; i < width; ++i) {
      patch.bytes[big_ ? width - 1 - i : i] = static_cast<char>(value >> 8 * i & 255);
    }
    return patch;
  }
  // Whether a chunk seems to begin at `at`: its name looks like one, and it ends inside the file or
  // is a small one that was cut.
  bool IsChunk(size_t at) const {
    constexpr size_t kSmall = 4096;
    if (at + 8 > size()) return false;
    const bool name = std::ranges::all_of(Name(at), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == ' ' || c == '_' || c == '-';
    });
    return name && (Number(at + 4, 4) <= size() - at - 8 || size() - at < kSmall);
  }

 private:
  std::span<const std::byte> bytes_;
  bool big_;
};

struct Chunk {
  size_t at = 0;    // of its name
  size_t body = 0;  // behind name and size
  uint64_t size = 0;
};

// Walks over chunks with sizes of `width` bytes until `name`; nullopt when there is none. Chunks of
// odd size are padded, but not by every writer.
std::optional<Chunk> FindChunk(const Header& header, size_t at, size_t width,
                               std::string_view name) {
  while (at + 4 + width <= header.size()) {
    const Chunk chunk{at, at + 4 + width, header.Number(at + 4, width)};
    if (header.Name(at) == name) return chunk;
    if (chunk.size > header.size() - chunk.body) return {};
    at = chunk.body + static_cast<size_t>(chunk.size);
    if (width == 4 && chunk.size % 2 == 1 && (header.IsChunk(at + 1) || !header.IsChunk(at))) ++at;
  }
  return {};
}

// Whether everything from `at` on is chunks, to the last byte.
bool IsChunks(const Header& header, size_t at) {
  while (header.IsChunk(at)) {
    const uint64_t size = header.Number(at + 4, 4);
    if (size > header.size() - at - 8) return false;
    at += 8 + static_cast<size_t>(size + size % 2);
    if (at >= header.size()) return true;
  }
  return false;
}

// Whether behind a sound of `size` bytes at `body` there is something that is no chunk: more sound,
// where a recorder wrote the size from time to time and was killed.
bool SoundGoesOn(const Header& header, size_t body, uint64_t size) {
  const size_t end = body + static_cast<size_t>(size + size % 2);
  if (end + 8 >= header.size()) return false;
  const size_t unpadded = body + static_cast<size_t>(size);
  if (header.IsChunk(end) || header.IsChunk(unpadded)) return false;
  for (size_t at = end; at < header.size(); ++at) {
    if (header.Number(at, 1) != 0) return true;  // else it is filled up with zeros
  }
  return false;
}

// How many bytes of sound there are, where `declared` are said to be.
uint64_t SoundThere(const Header& header, size_t body, uint64_t declared) {
  const uint64_t rest = header.size() - body;
  if (declared > rest) return rest;
  if (declared == 0) return IsChunks(header, body) ? 0 : rest;
  return SoundGoesOn(header, body, declared) ? rest : declared;
}

// The size of 64 bits that an RF64 file has in front.
void PatchWide(const Header& header, const Chunk& ds64, uint64_t there, SizedSound* sound) {
  const std::optional<Chunk> format = FindChunk(header, 12, 4, "fmt ");
  const uint64_t frame = format && format->size >= 16 ? header.Number(format->body + 12, 2) : 0;
  sound->patches.push_back(header.Patch(ds64.body, 8, header.size() - 8));
  sound->patches.push_back(header.Patch(ds64.body + 8, 8, there));
  sound->patches.push_back(header.Patch(ds64.body + 16, 8, frame > 0 ? there / frame : 0));
}

}  // namespace

std::string SizeNote(uint64_t declared, uint64_t there) {
  const auto bytes = [](uint64_t count) { return WithThousands(static_cast<int64_t>(count)); };
  if (declared == there) return {};
  if (declared < there) {
    return "its header was never completed: it says " + bytes(declared) + " bytes of sound; all " +
           bytes(there) + " that are there are read";
  }
  if (declared >= kUnknownSize) {
    return "its header does not say how long the sound is; the " + bytes(there) +
           " bytes that are there are read";
  }
  return bytes(declared - there) + " of " + bytes(declared) +
         " bytes of sound are missing at the end; read as far as it goes";
}

SizedSound CompleteRiff(std::span<const std::byte> bytes) {
  SizedSound sound{.bytes = bytes, .patches = {}, .note = {}};
  const std::string_view kind(reinterpret_cast<const char*>(bytes.data()), 4);
  const Header header(bytes, kind == "RIFX");
  const std::optional<Chunk> data = FindChunk(header, 12, 4, "data");
  if (!data) return sound;
  std::optional<Chunk> ds64;
  if (kind == "RF64" || kind == "BW64") ds64 = FindChunk(header, 12, 4, "ds64");
  if (ds64 && (ds64->size < 24 || ds64->body + 24 > header.size())) ds64.reset();
  const bool wide = ds64 && (data->size == 0xffffffff || data->size == 0);
  const uint64_t declared = wide ? header.Number(ds64->body + 8, 8) : data->size;
  const uint64_t there = SoundThere(header, data->body, declared);
  sound.note = SizeNote(declared, there);
  if (there == declared) {
    const size_t end = data->body + static_cast<size_t>(there + there % 2);
    const bool another = end + 12 <= header.size() && header.Name(end + 8) == "WAVE" &&
                         (header.Name(end) == "RIFF" || header.Name(end) == "RF64");
    if (another) sound.bytes = bytes.first(end);
  } else if (wide) {
    PatchWide(header, *ds64, there, &sound);
  } else if (there < kUnknownSize) {
    sound.patches.push_back(header.Patch(data->at + 4, 4, there));
  } else {
    // More than 32 bits can say: libsndfile knows these two sizes as those of a file that was never
    // closed, and reads to its end.
    sound.patches.push_back(header.Patch(4, 4, 8));
    sound.patches.push_back(header.Patch(data->at + 4, 4, 0));
  }
  return sound;
}

bool CompleteOther(std::span<const std::byte> bytes, SizedSound* sound) {
  *sound = {.bytes = bytes, .patches = {}, .note = {}};
  if (bytes.size() < 24) return false;
  const Header header(bytes, true);
  const std::string_view kind = header.Name(0);
  std::optional<Chunk> data;
  size_t width = 4, lead = 0;  // bytes of a size; bytes that it counts before the sound
  if (kind == "FORM" && header.Name(8).starts_with("AIF")) {
    data = FindChunk(header, 12, 4, "SSND");
    lead = 8;
  } else if (kind == "caff") {
    width = 8;
    data = FindChunk(header, 8, 8, "data");
    lead = 4;
  } else if (kind == ".snd") {
    const uint64_t body = header.Number(4, 4);
    if (body <= bytes.size()) data = Chunk{4, static_cast<size_t>(body), header.Number(8, 4)};
  } else {
    return false;
  }
  if (!data || data->body + lead > bytes.size()) return true;
  const uint64_t said = data->size == lead ? 0 : data->size;
  const uint64_t there = SoundThere(header, data->body, said);
  if (there == said) return true;
  // CAF and AU have a number for "not known", which is no fault.
  const bool open =
      (kind == "caff" && said == ~uint64_t{0}) || (kind == ".snd" && said == 0xffffffff);
  if (!open) sound->note = SizeNote(said > lead ? said - lead : said, there - lead);
  if (width == 8 || there < kUnknownSize) {
    sound->patches.push_back(header.Patch(data->at + 4, width, there));
  }
  return true;
}

}  // namespace rondo
