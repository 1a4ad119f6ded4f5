#include "text/unicode/text_source.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "rondo/error.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

constexpr size_t kPiece = size_t{1} << 16;

// Byte order marks of other encodings. UTF-32 first: its mark begins as that of UTF-16.
struct Mark {
  std::string_view bytes;
  const char* encoding;
};
constexpr Mark kMarks[] = {{std::string_view("\xFF\xFE\0\0", 4), "UTF-32"},
                           {std::string_view("\0\0\xFE\xFF", 4), "UTF-32"},
                           {"\xFF\xFE", "UTF-16"},
                           {"\xFE\xFF", "UTF-16"}};

// Files that people take for text or that hold some.
struct Known {
  std::string_view magic;
  const char* name;
};
constexpr Known kKnown[] = {{"PK\x03\x04", "a zip archive (also .docx, .npz, .pth)"},
                            {"7z\xBC\xAF\x27\x1C", "a 7z archive"},
                            {"Rar!", "a rar archive"},
                            {"\x04\x22\x4D\x18", "an lz4 file"},
                            {"%PDF", "a PDF file"},
                            {"PAR1", "a Parquet file"},
                            {"ARROW1", "an Arrow file"},
                            {"GGUF", "a GGUF model"},
                            {"\x89PNG", "a PNG picture"},
                            {"\xFF\xD8\xFF", "a JPEG picture"},
                            {"\x7F"
                             "ELF",
                             "a program"},
                            {"SQLite format 3", "an SQLite data base"},
                            {"{\\rtf", "an RTF document"},
                            {"\xD0\xCF\x11\xE0", "an old Office document"}};

[[noreturn]] void Refuse(const std::string& file, const std::string& field,
                         const std::string& problem, const std::string& expected) {
  throw Error({.function = "ReadText",
               .problem = problem,
               .expected = expected,
               .file = file,
               .field = field});
}

std::string ByteName(char byte) {
  char name[8];
  std::snprintf(name, sizeof(name), "0x%02X", static_cast<unsigned char>(byte));
  return name;
}

// The length of the text without a character that its end cuts.
size_t WholeLength(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(4, text.size()); ++back) {
    const size_t at = text.size() - back;
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    return NextUtf8(text, at).incomplete ? at : text.size();
  }
  return text.size();
}

// The first place that is not UTF-8; text.size() if all is.
size_t FirstBad(std::string_view text) {
  if (IsValidUtf8(text)) return text.size();
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    if (!step.valid) return i;
    i += static_cast<size_t>(step.length);
  }
  return text.size();
}

// Hands out UTF-8 and refuses the rest.
class TextSource : public ByteSource {
 public:
  explicit TextSource(const std::string& path) : path_(path), bytes_(OpenBytes(path)) {
    Refill();
    for (const Known& known : kKnown) {
      if (!raw_.starts_with(known.magic)) continue;
      Refuse(path_, "byte 0", std::string("not UTF-8 text: it is ") + known.name, "a text file");
    }
    constexpr size_t kTarMagic = 257;
    if (raw_.size() > kTarMagic && raw_.compare(kTarMagic, 5, "ustar") == 0) {
      Refuse(path_, "byte 257", "not UTF-8 text: it is a tar archive", "a text file");
    }
    for (const Mark& mark : kMarks) {
      if (!raw_.starts_with(mark.bytes)) continue;
      Refuse(path_, "byte 0", std::string("not UTF-8: the byte order mark of ") + mark.encoding,
             std::string("text in UTF-8: iconv -f ") + mark.encoding + " -t UTF-8");
    }
    CheckZeros();
  }

  size_t Read(std::span<char> out) override {
    while (ready_at_ == ready_.size()) {
      if (raw_.size() < kPiece && !at_end_) Refill();
      if (raw_.empty() && at_end_) return 0;
      ready_at_ = 0;
      ready_.clear();
      Convert();
    }
    const size_t size = std::min(out.size(), ready_.size() - ready_at_);
    std::memcpy(out.data(), ready_.data() + ready_at_, size);
    ready_at_ += size;
    return size;
  }
  int64_t position() const override { return bytes_->position(); }

 private:
  void Refill() {
    const size_t before = raw_.size();
    raw_.resize(before + kPiece);
    const size_t size = bytes_->Read(std::span(raw_).subspan(before));
    raw_.resize(before + size);
    at_end_ = size == 0;
  }

  // Many bytes are zero: UTF-16 or UTF-32 that does not say so. Some zeros in a text are the
  // writer's.
  void CheckZeros() const {
    const std::string_view head = std::string_view(raw_).substr(0, 4096);
    const auto zeros = std::ranges::count(head, '\0');
    if (head.size() < 8 || static_cast<size_t>(zeros) * 4 < head.size()) return;
    Refuse(path_, "byte " + std::to_string(head.find('\0')),
           "not UTF-8 text: " + std::to_string(zeros) + " of the first " +
               std::to_string(head.size()) +
               " bytes are zero, as in UTF-16 or UTF-32 without a byte order mark",
           "text in UTF-8: iconv -f UTF-16LE -t UTF-8");
  }

  // Moves what is whole of raw_ to ready_.
  void Convert() {
    const size_t done = at_end_ ? raw_.size() : WholeLength(raw_);
    const size_t bad = FirstBad(std::string_view(raw_).substr(0, done));
    if (bad < done) {
      FailAt(bad, "not UTF-8: " + ByteName(raw_[bad]),
             "text in UTF-8; for Latin-1: iconv -f LATIN1 -t UTF-8");
    }
    ready_.assign(raw_, 0, done);
    lines_ += std::ranges::count(ready_, '\n');
    raw_.erase(0, done);
    read_ += static_cast<int64_t>(done);
  }

  // `at` in raw_.
  [[noreturn]] void FailAt(size_t at, const std::string& problem,
                           const std::string& expected) const {
    const auto line =
        lines_ + 1 + std::count(raw_.begin(), raw_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    Refuse(path_, "line " + std::to_string(line),
           problem + " at byte " + std::to_string(read_ + static_cast<int64_t>(at)), expected);
  }

  std::string path_;
  std::unique_ptr<ByteSource> bytes_;
  std::string raw_;  // unpacked, not checked yet
  bool at_end_ = false;
  std::string ready_;
  size_t ready_at_ = 0;
  int64_t read_ = 0;   // bytes before raw_
  int64_t lines_ = 0;  // line breaks in what was converted
};

}  // namespace

std::unique_ptr<ByteSource> OpenText(const std::string& path) {
  return std::make_unique<TextSource>(path);
}

std::string ReadText(const std::string& path, uint64_t max_bytes) {
  const std::unique_ptr<ByteSource> source = OpenText(path);
  std::string text;
  std::vector<char> piece(size_t{1} << 18);
  while (const size_t size = source->Read(piece)) {
    if (size > max_bytes - text.size()) {
      Refuse(path, {}, "holds more than " + std::to_string(max_bytes) + " bytes", "a smaller file");
    }
    text.append(piece.data(), size);
  }
  return text;
}

void CheckUtf8(std::string_view text, const std::string& field) {
  const size_t bad = FirstBad(text);
  if (bad == text.size()) return;
  Refuse({}, field, "not UTF-8: " + ByteName(text[bad]) + " at byte " + std::to_string(bad),
         "text in UTF-8");
}

}  // namespace rondo
