#include "cli/line_reader.h"

#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>
#include <string_view>
#include <utility>

namespace rondo::cli {
namespace {

constexpr int kKeptLines = 1000;

// Keys are read as UTF-8, also where the environment names no locale.
void UseUtf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

unsigned char EmptyLine(EditLine* editor, int) {
  const LineInfo* line = el_line(editor);
  el_cursor(editor, static_cast<int>(line->lastchar - line->cursor));
  el_deletestr(editor, static_cast<int>(line->lastchar - line->buffer));
  return CC_REFRESH;
}

}  // namespace

struct LineReader::Editor {
  explicit Editor(std::string shown) : prompt(std::move(shown)) {
    UseUtf8();
    HistEvent event;
    history(lines, &event, H_SETSIZE, kKeptLines);
    el_set(editor, EL_CLIENTDATA, this);
    el_set(editor, EL_PROMPT, &Editor::Prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_HIST, history, lines);
    // While a line is edited, Ctrl-C is a key: the terminal must not be left in the editor's mode.
    el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
    el_set(editor, EL_ADDFN, "empty-line", "Empty the line", &EmptyLine);
    el_set(editor, EL_BIND, "^C", "empty-line", nullptr);
    el_source(editor, nullptr);  // the user's own ~/.editrc
  }
  ~Editor() {
    el_end(editor);
    history_end(lines);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  static char* Prompt(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return static_cast<Editor*>(self)->prompt.data();
  }

  std::string prompt;
  EditLine* editor = el_init("rondo", stdin, stderr, stderr);
  History* lines = history_init();
};

LineReader::LineReader(std::string prompt) {
  if (isatty(STDIN_FILENO) == 1) editor_ = std::make_unique<Editor>(std::move(prompt));
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::Next() {
  std::string line;
  if (editor_ == nullptr) {
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
  int size = 0;
  const char* text = el_gets(editor_->editor, &size);
  if (text == nullptr || size <= 0) {
    std::fputc('\n', stderr);
    return std::nullopt;
  }
  line = text;
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  HistEvent event;
  if (!line.empty()) history(editor_->lines, &event, H_ENTER, line.c_str());
  return line;
}

}  // namespace rondo::cli
