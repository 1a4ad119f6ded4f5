// Documents of one text or JSONL file, one at a time and in order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corpus/token_data.h"
#include "text/unicode/text_source.h"

namespace rondo {

// Lines of a text (see OpenText), numbered from 1, without their line break. A byte order mark at
// the start is left out.
class LineReader {
 public:
  explicit LineReader(const std::string& path) : path_(path), source_(OpenText(path)) {}

  // False at the end. The view lives until the next call. A line break at the end of the file
  // begins no further line.
  bool Next(std::string_view* line);
  bool had_break() const { return had_break_; }  // only the last line may have none
  int64_t number() const { return number_; }
  int64_t position() const { return source_->position(); }

 private:
  bool Fill();
  std::string path_;
  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // of what is unread in buffer_
  int64_t number_ = 0;
  bool had_break_ = false;
};

class DocumentReader {
 public:
  // `unit` is for text and `field` for JSONL; the file's name decides (see CorpusOptions::files).
  DocumentReader(const std::string& path, DocumentUnit unit, std::string field);

  // False at the end. Documents are not empty and valid UTF-8; lines end in "\n", the last in
  // nothing (kFile: the text as it is). Throws naming file and line.
  bool Next(std::string* text);
  int64_t position() const { return lines_.position(); }

 private:
  bool NextRecord(std::string* text);
  bool NextFile(std::string* text);
  bool NextText(std::string* text);
  void CheckLine(std::string_view line, size_t before) const;

  std::string path_, field_;
  DocumentUnit unit_;
  bool jsonl_;
  LineReader lines_;
  std::string ahead_;  // kHeading: the line that begins the next document
  bool has_ahead_ = false;
};

bool IsJsonl(std::string_view path);

}  // namespace rondo
