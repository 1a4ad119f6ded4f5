// Lines from standard input. On a terminal they can be edited, and lines from before come back with
// the arrow keys (libedit).
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace rondo::cli {

class LineReader {
 public:
  // `prompt` is shown on a terminal, on standard error.
  explicit LineReader(std::string prompt);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool terminal() const { return editor_ != nullptr; }
  // A line without its end; nothing at the end of the input. On a terminal Ctrl-C empties the line.
  std::optional<std::string> Next();

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // null: not a terminal
};

}  // namespace rondo::cli
