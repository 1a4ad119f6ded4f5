// Texts in pieces, for metrics.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/unicode/utf8.h"

namespace rondo {

// Between white space.
inline std::vector<std::string> WordsOf(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\f\v";
  std::vector<std::string> words;
  for (size_t at = text.find_first_not_of(kSpaces); at != text.npos;) {
    const size_t end = std::min(text.find_first_of(kSpaces, at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = text.find_first_not_of(kSpaces, end);
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
