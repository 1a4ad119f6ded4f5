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

bool HasCase(std::string_view character) {
  const char32_t code = NextUtf8(character, 0).code;
  const auto lower = utf8proc_tolower(static_cast<utf8proc_int32_t>(code));
  return lower != utf8proc_toupper(static_cast<utf8proc_int32_t>(code));
}

constexpr char32_t kCapitalSigma = 0x3A3;

// Whether a word ends at the sigma at `place`: a letter before it and none behind.
bool EndsWord(std::string_view text, size_t place) {
  const size_t behind = place + 2;
  size_t before = place;
  while (before > 0 && (static_cast<unsigned char>(text[--before]) & 0xC0) == 0x80) {
  }
  return place > 0 && IsLetter(NextUtf8(text, before).code) &&
         (behind >= text.size() || !IsLetter(NextUtf8(text, behind).code));
}

void AppendCapital(char32_t code, bool title, std::string& out) {
  const auto letter = static_cast<utf8proc_int32_t>(code);
  const char* several = LongCapitals(code);
  if (several == nullptr) {
    AppendUtf8(static_cast<char32_t>(title ? utf8proc_totitle(letter) : utf8proc_toupper(letter)),
               out);
    return;
  }
  const std::string_view capitals(several);
  const size_t first = title ? static_cast<size_t>(Utf8Length(capitals[0])) : capitals.size();
  out += capitals.substr(0, first);
  out += Lower(std::string(capitals.substr(first)));
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

std::string Upper(const std::string& text) {
  std::string out;
  for (const std::string_view character : Characters(text)) {
    AppendCapital(NextUtf8(character, 0).code, false, out);
  }
  return out;
}

std::string Lower(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    if (step.code == kCapitalSigma && EndsWord(text, i)) {
      AppendUtf8(0x3C2, out);
    } else {
      AppendLowercase(step.code, out);
    }
    i += static_cast<size_t>(step.length);
  }
  return out;
}

std::string Capitalize(const std::string& text) {
  if (text.empty()) return text;
  const auto first = static_cast<size_t>(NextUtf8(text, 0).length);
  std::string out;
  AppendCapital(NextUtf8(text, 0).code, true, out);
  return out + Lower(text.substr(first));
}

std::string Title(const std::string& text) {
  std::string out;
  bool inside = false;
  for (const std::string_view character : Characters(text)) {
    const char32_t code = NextUtf8(character, 0).code;
    if (inside) {
      AppendLowercase(code, out);
    } else {
      AppendCapital(code, true, out);
    }
    inside = HasCase(character);
  }
  return out;
}

std::string SwapCase(const std::string& text) {
  std::string out;
  for (const std::string_view character : Characters(text)) {
    const std::string one(character);
    const std::string lower = Lower(one);
    out += lower != one ? lower : Upper(one);
  }
  return out;
}

std::string Center(const std::string& text, size_t width, const std::string& fill) {
  const size_t size = Characters(text).size();
  if (size >= width) return text;
  const size_t pad = width - size;
  const size_t left = pad / 2 + (pad & width & 1);
  return Repeated(fill, left) + text + Repeated(fill, pad - left);
}

std::string Repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace rondo::jinja
