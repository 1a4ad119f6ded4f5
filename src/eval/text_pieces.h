// Texts in pieces, for metrics.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo {

// Between white space, which is what Python's str.split() takes for it.
inline std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text, at);
    const auto length = static_cast<size_t>(step.length);
    if (IsPythonSpace(step.code)) {
      inside = false;
    } else {
      if (!inside) words.emplace_back();
      words.back() += text.substr(at, length);
      inside = true;
    }
    at += length;
  }
  return words;
}

// Python's str.strip().
inline std::string_view Stripped(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text, at);
    const size_t next = at + static_cast<size_t>(step.length);
    if (!IsPythonSpace(step.code)) {
      begin = std::min(begin, at);
      end = next;
    }
    at = next;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

// The words that jiwer compares: runs of white space count as a space, a single character of it
// that is no plain space is part of a word.
inline std::vector<std::string> WordsForErrorRate(std::string_view text) {
  text = Stripped(text);
  std::vector<std::string> words;
  std::string_view space;  // the run of white space that ends here
  int spaces = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text, at);
    const std::string_view character = text.substr(at, static_cast<size_t>(step.length));
    at += character.size();
    if (IsPythonSpace(step.code)) {
      space = character;
      ++spaces;
      continue;
    }
    const bool joined = spaces == 1 && space != " " && inside;
    if (spaces > 0 && !joined) inside = false;
    if (!inside) words.emplace_back();
    if (joined) words.back() += space;
    words.back() += character;
    inside = true;
    spaces = 0;
  }
  return words;
}

// Code points.
inline std::vector<char32_t> CharactersOfText(std::string_view text) {
  std::vector<char32_t> characters;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text, at);
    characters.push_back(step.code);
    at += static_cast<size_t>(step.length);
  }
  return characters;
}

}  // namespace rondo
