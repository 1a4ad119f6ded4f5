#include "audio/tar.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kBlock = 512;
// A longer name or pax header is no name of a file.
constexpr size_t kMaxHeaderText = size_t{1} << 20;

[[noreturn]] void Fail(const std::string& path, size_t offset, std::string problem,
                       std::string expected) {
  throw Error({.function = "TarIndex",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = "header at byte " + std::to_string(offset)});
}

// The fields of one 512-byte header.
class Header {
 public:
  Header(std::span<const std::byte> bytes, const std::string& path, size_t offset)
      : text_(reinterpret_cast<const char*>(bytes.data()), kBlock), path_(path), offset_(offset) {}

  bool IsZero() const {
    return std::all_of(text_.begin(), text_.end(), [](char c) { return c == 0; });
  }
  // Sums the header with its checksum field as spaces.
  void CheckSum() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      sum += i >= 148 && i < 156 ? uint64_t{' '} : static_cast<uint8_t>(text_[i]);
    }
    if (Number(148, 8) != sum) {
      Fail(path_, offset_, "the checksum is wrong", "an uncompressed, undamaged tar archive");
    }
  }
  char kind() const { return text_[156]; }
  uint64_t size() const { return Number(124, 12); }
  std::string name() const {
    const std::string_view name = Text(0, 100), prefix = Text(345, 155);
    const bool posix = text_.substr(257, 6) == std::string_view("ustar\0", 6);
    return (posix && !prefix.empty() ? std::string(prefix) + "/" : "") + std::string(name);
  }

 private:
  std::string_view Text(size_t at, size_t width) const {
    const std::string_view field = text_.substr(at, width);
    return field.substr(0, std::min(field.find('\0'), width));
  }
  // Octal digits, or GNU's big-endian form for large numbers.
  uint64_t Number(size_t at, size_t width) const {
    uint64_t value = 0;
    if ((static_cast<uint8_t>(text_[at]) & 0x80) != 0) {
      for (size_t i = 1; i < width; ++i) {
        if (value >> 56 != 0) Fail(path_, offset_, "a number too large", "a size below 2^63");
        value = value << 8 | static_cast<uint8_t>(text_[at + i]);
      }
      return value;
    }
    const std::string_view digits = Trim(Text(at, width));
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
    if (error != std::errc() || end != digits.data() + digits.size()) {
      Fail(path_, offset_, "'" + std::string(digits) + "' is no octal number",
           "an uncompressed tar archive");
    }
    return value;
  }

  std::string_view text_;
  const std::string& path_;
  size_t offset_;
};

// "length key=value\n" records; those that matter here.
struct PaxRecords {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
};

PaxRecords ParsePax(std::string_view text, const std::string& path, size_t offset) {
  PaxRecords records;
  while (!text.empty()) {
    size_t length = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    const size_t digits = static_cast<size_t>(end - text.data());
    if (error != std::errc() || length < digits + 3 || length > text.size() ||
        text[length - 1] != '\n') {
      Fail(path, offset, "a malformed pax header", "records 'length key=value'");
    }
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    const size_t equals = std::min(record.find('='), record.size() - 1);
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") records.path = std::string(value);
    if (key == "size") {
      uint64_t size = 0;
      std::from_chars(value.data(), value.data() + value.size(), size);
      records.size = size;
    }
    if (key.starts_with("GNU.sparse")) Fail(path, offset, "a sparse member", "plain files");
    text.remove_prefix(length);
  }
  return records;
}

}  // namespace

std::shared_ptr<const TarIndex> TarIndex::Open(const std::string& path) {
  return std::shared_ptr<const TarIndex>(new TarIndex(MappedFile::Open(path)));
}

TarIndex::TarIndex(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  const std::span<const std::byte> bytes = file_->bytes();
  const std::string& path = file_->path();
  std::optional<std::string> long_name;
  PaxRecords pax;
  for (size_t offset = 0;;) {
    // Writers differ in how many blocks of zeros they end with; a member cut short is found below.
    if (bytes.size() - offset < kBlock) {
      if (offset == 0 || bytes.size() != offset) Fail(path, offset, "the archive ends", "a header");
      return;
    }
    const Header header(bytes.subspan(offset, kBlock), path, offset);
    if (header.IsZero()) {
      if (offset == 0) Fail(path, offset, "nothing but zeros", "a tar archive");
      return;
    }
    header.CheckSum();
    const uint64_t size = pax.size.value_or(header.size());
    const size_t data = offset + kBlock;
    if (size > bytes.size() - data) {
      Fail(path, offset, "a member of " + std::to_string(size) + " bytes", "a whole archive");
    }
    const std::span<const std::byte> content = bytes.subspan(data, size);
    const std::string_view text(reinterpret_cast<const char*>(content.data()), size);
    const char kind = header.kind();
    const bool describes_next = kind == 'L' || kind == 'K' || kind == 'x';
    if ((describes_next || kind == 'g') && size > kMaxHeaderText) {
      Fail(path, offset, "a header text of " + std::to_string(size) + " bytes", "at most 1 MiB");
    }
    if (kind == 'L') long_name = std::string(text.substr(0, text.find('\0')));
    if (kind == 'x') pax = ParsePax(text, path, offset);
    if (kind == '0' || kind == '\0' || kind == '7') {
      const std::string name = pax.path.value_or(long_name.value_or(header.name()));
      if (!name.ends_with('/')) members_[name] = content;
    }
    if (kind == 'S') Fail(path, offset, "a sparse member", "plain files");
    if (!describes_next) {
      long_name.reset();
      pax = {};
    }
    const uint64_t padded = (size + kBlock - 1) / kBlock * kBlock;
    offset = data + static_cast<size_t>(std::min<uint64_t>(padded, bytes.size() - data));
  }
}

std::span<const std::byte> TarIndex::Get(std::string_view member) const {
  const auto found = members_.find(member);
  if (found != members_.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, bytes] : members_) names.push_back(name);
  const std::string nearest = NearestName(member, names);
  throw Error({.function = "TarIndex",
               .problem = "no member '" + std::string(member) + "'",
               .expected = "one of its " + std::to_string(names.size()) + " files" +
                           (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"),
               .file = file_->path()});
}

}  // namespace rondo
