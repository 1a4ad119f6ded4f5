// Python's string functions, on UTF-8.
#include <utf8proc.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/jinja_library.h"
#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

// str.isspace(): white space and the information separators.
bool IsPythonSpace(char32_t code) { return IsSpace(code) || (code >= 0x1C && code <= 0x1F); }

bool IsLetter(std::string_view character) {
  const char32_t code = NextUtf8(character, 0).code;
  const auto lower = utf8proc_tolower(static_cast<utf8proc_int32_t>(code));
  return lower != utf8proc_toupper(static_cast<utf8proc_int32_t>(code));
}

std::string MapCase(std::string_view text, utf8proc_int32_t (*map)(utf8proc_int32_t)) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    AppendUtf8(static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(step.code))), out);
    i += static_cast<size_t>(step.length);
  }
  return out;
}

}  // namespace

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    const auto length = static_cast<size_t>(NextUtf8(text, i).length);
    out.push_back(text.substr(i, length));
    i += length;
  }
  return out;
}

std::string StripText(const std::string& text, const Value& characters, bool left, bool right) {
  const bool given = characters.IsString();
  const auto strips = [&](std::string_view character) {
    if (given) return characters.AsString().find(character) != std::string::npos;
    return IsPythonSpace(NextUtf8(character, 0).code);
  };
  const std::vector<std::string_view> all = Characters(text);
  size_t begin = 0;
  size_t end = all.size();
  while (left && begin < end && strips(all[begin])) ++begin;
  while (right && end > begin && strips(all[end - 1])) --end;
  if (begin == end) return {};
  const char* first = all[begin].data();
  return {first, static_cast<size_t>(all[end - 1].data() + all[end - 1].size() - first)};
}

std::string ReplaceText(const std::string& text, const std::string& from, const std::string& to,
                        int64_t count) {
  std::string out;
  size_t done = 0;
  if (from.empty()) {  // between all characters
    for (const std::string_view character : Characters(text)) {
      if (count-- == 0) break;
      out.append(to).append(character);
      done += character.size();
    }
    out.append(text.substr(done));
    return count != 0 && done == text.size() ? out + to : out;
  }
  for (size_t hit = 0; count != 0 && (hit = text.find(from, done)) != std::string::npos; --count) {
    out.append(text, done, hit - done).append(to);
    done = hit + from.size();
  }
  return out.append(text, done);
}

std::string Upper(const std::string& text) { return MapCase(text, utf8proc_toupper); }
std::string Lower(const std::string& text) { return MapCase(text, utf8proc_tolower); }

std::string Capitalize(const std::string& text) {
  if (text.empty()) return text;
  const auto first = static_cast<size_t>(NextUtf8(text, 0).length);
  return MapCase(text.substr(0, first), utf8proc_totitle) + Lower(text.substr(first));
}

std::string Title(const std::string& text) {
  std::string out;
  bool inside = false;
  for (const std::string_view character : Characters(text)) {
    out += MapCase(character, inside ? utf8proc_tolower : utf8proc_totitle);
    inside = IsLetter(character);
  }
  return out;
}

}  // namespace rondo::jinja
