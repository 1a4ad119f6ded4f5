#include "text/unicode/utf8.h"

#include <cstdint>
#include <cstring>

namespace rondo {
namespace {

// Continuation bytes that may follow a lead byte: how many, and the range of the first one.
struct LeadInfo {
  int continuation;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

LeadInfo DescribeLead(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {1};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};
  if (lead == 0xED) return {2, 0x80, 0x9F};  // no surrogates
  if (lead >= 0xE1 && lead <= 0xEF) return {2};
  if (lead == 0xF0) return {3, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {3};
  if (lead == 0xF4) return {3, 0x80, 0x8F};
  return {0};
}

// Length of the ASCII run at `position`.
size_t AsciiRun(std::string_view text, size_t position) {
  size_t end = position;
  for (; end + 8 <= text.size(); end += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + end, 8);
    if (word & 0x8080808080808080u) break;
  }
  while (end < text.size() && static_cast<unsigned char>(text[end]) < 0x80) ++end;
  return end - position;
}

}  // namespace

Utf8Step NextUtf8(std::string_view text, size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  if (lead < 0x80) return {lead, 1, true, false};
  const LeadInfo info = DescribeLead(lead);
  if (info.continuation == 0) return {};
  char32_t code = lead & (0x3F >> info.continuation);
  for (int i = 1; i <= info.continuation; ++i) {
    if (position + i >= text.size()) return {kReplacementCharacter, i, false, true};
    const auto byte = static_cast<unsigned char>(text[position + i]);
    const unsigned char low = i == 1 ? info.low : 0x80;
    const unsigned char high = i == 1 ? info.high : 0xBF;
    if (byte < low || byte > high) return {kReplacementCharacter, i, false, false};
    code = (code << 6) | (byte & 0x3F);
  }
  return {code, info.continuation + 1, true, false};
}

bool IsValidUtf8(std::string_view text) {
  for (size_t i = AsciiRun(text, 0); i < text.size(); i += AsciiRun(text, i)) {
    const Utf8Step step = NextUtf8(text, i);
    if (!step.valid) return false;
    i += step.length;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    if (step.valid) {
      out.append(text.substr(i, step.length));
    } else {
      AppendUtf8(kReplacementCharacter, out);
    }
    i += step.length;
  }
  return out;
}

void AppendUtf8(char32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t begin = 0;
  for (size_t hit; (hit = text.find(from, begin)) != std::string_view::npos;
       begin = hit + from.size()) {
    out.append(text.substr(begin, hit - begin)).append(to);
  }
  return out.append(text.substr(begin));
}

}  // namespace rondo
