#include "corpus/document_reader.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr size_t kMaxDocument = size_t{1} << 30;
constexpr size_t kReadSize = size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool IsBlank(std::string_view line) { return Trim(line).empty(); }

// "= Title =" but not "= = Section = =" nor "== Section ==".
bool IsHeading(std::string_view line) {
  line = Trim(line);
  if (line.size() < 5 || !line.starts_with("= ") || !line.ends_with(" =")) return false;
  const std::string_view title = Trim(line.substr(2, line.size() - 4));
  return !title.empty() && title.front() != '=' && title.back() != '=';
}

void DropBlankTail(std::string* text) {
  while (!text->empty()) {
    const size_t at = text->rfind('\n');
    const size_t begin = at == std::string::npos ? 0 : at + 1;
    if (!IsBlank(std::string_view(*text).substr(begin))) return;
    text->resize(begin == 0 ? 0 : at);
  }
}

[[noreturn]] void FailSize(const std::string& path, int64_t line) {
  throw Error({.function = "ReadDocuments",
               .problem = "a document of more than " + HumanBytes(kMaxDocument),
               .expected = "smaller documents; is the document unit the right one?",
               .file = path,
               .field = "line " + std::to_string(line)});
}

}  // namespace

bool IsJsonl(std::string_view path) {
  path = WithoutPacking(path);
  return path.ends_with(".jsonl") || path.ends_with(".ndjson");
}

bool LineReader::Fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ > kMaxDocument) FailSize(path_, number_ + 1);
  // Doubling keeps the cost of a long line linear in its length.
  if (buffer_.size() < end_ + kReadSize) buffer_.resize(std::max(2 * end_, end_ + kReadSize));
  const size_t size = source_->Read(std::span(buffer_).subspan(end_));
  end_ += size;
  return size > 0;
}

bool LineReader::Next(std::string_view* line) {
  size_t searched = 0;
  while (true) {
    const char* start = buffer_.data() + begin_;
    const size_t size = end_ - begin_;
    const void* found =
        size > searched ? std::memchr(start + searched, '\n', size - searched) : nullptr;
    searched = size;
    if (found == nullptr && Fill()) continue;
    const size_t length =
        found != nullptr ? static_cast<size_t>(static_cast<const char*>(found) - start) : size;
    if (found == nullptr && length == 0) return false;
    *line = {buffer_.data() + begin_, length};
    had_break_ = found != nullptr;
    begin_ += length + (had_break_ ? 1 : 0);
    if (++number_ == 1 && line->starts_with(kByteOrderMark)) {
      line->remove_prefix(kByteOrderMark.size());
    }
    return true;
  }
}

DocumentReader::DocumentReader(const std::string& path, DocumentUnit unit, std::string field)
    : path_(path), field_(std::move(field)), unit_(unit), jsonl_(IsJsonl(path)), lines_(path) {}

bool DocumentReader::Next(std::string* text) {
  if (jsonl_) return NextRecord(text);
  return unit_ == DocumentUnit::kFile ? NextFile(text) : NextText(text);
}

bool DocumentReader::NextRecord(std::string* text) {
  for (std::string_view line; lines_.Next(&line);) {
    if (IsBlank(line)) continue;
    const std::string where = "line " + std::to_string(lines_.number());
    try {
      const nlohmann::json record = ParseJsonChecked(line, path_);
      *text = JsonObject(record, "ReadDocuments", path_).String(field_);
    } catch (const Error& error) {
      ErrorInfo info = error.info();
      info.field = where + (info.field.empty() ? "" : ": ") + info.field;
      throw Error(std::move(info));
    }
    if (!text->empty()) return true;
  }
  return false;
}

bool DocumentReader::NextFile(std::string* text) {
  text->clear();
  for (std::string_view line; lines_.Next(&line);) {
    CheckLine(line, text->size());
    text->append(line);
    if (lines_.had_break()) text->push_back('\n');
  }
  return !text->empty();
}

bool DocumentReader::NextText(std::string* text) {
  text->clear();
  if (std::exchange(has_ahead_, false)) text->swap(ahead_);
  for (std::string_view line; lines_.Next(&line);) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    CheckLine(line, text->size());
    const bool blank = IsBlank(line);
    if (blank && (text->empty() || unit_ == DocumentUnit::kLine)) continue;
    if (blank && unit_ == DocumentUnit::kParagraph) break;
    if (unit_ == DocumentUnit::kHeading && !text->empty() && IsHeading(line)) {
      ahead_ = line;
      has_ahead_ = true;
      break;
    }
    if (!text->empty()) text->push_back('\n');
    text->append(line);
    if (unit_ == DocumentUnit::kLine) break;
  }
  DropBlankTail(text);
  return !text->empty();
}

void DocumentReader::CheckLine(std::string_view line, size_t before) const {
  if (before + line.size() > kMaxDocument) FailSize(path_, lines_.number());
}

}  // namespace rondo
