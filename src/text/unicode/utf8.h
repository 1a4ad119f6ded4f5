// UTF-8 stepping, repair and encoding.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rondo {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

struct Utf8Step {
  char32_t code = kReplacementCharacter;
  int length = 1;  // bytes of the character, or of the maximal ill-formed subpart
  bool valid = false;
  bool incomplete = false;  // ill-formed only because the text ends here
};

// The character at `position` < text.size(). Ill-formed input is cut into maximal subparts (Unicode
// standard, section 3.9, table 3-8), as Python's errors="replace" and Rust's from_utf8_lossy do.
Utf8Step NextUtf8(std::string_view text, size_t position);

// Bytes of the character whose first byte is `lead`; for text known to be valid.
inline int Utf8Length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

bool IsValidUtf8(std::string_view text);
// Each maximal ill-formed subpart becomes U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);
void AppendUtf8(char32_t code, std::string& out);
// Replaces every occurrence of `from` (not empty) by `to`.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to);

}  // namespace rondo
