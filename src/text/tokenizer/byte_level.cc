#include "text/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "text/unicode/utf8.h"

namespace rondo {
namespace {

struct Alphabet {
  std::array<std::string, 256> chars;
  std::array<int16_t, 0x144> bytes;  // code point -> byte, -1: none
};

// Printable Latin-1 characters stand for themselves; the others follow from U+0100 in byte order.
Alphabet MakeAlphabet() {
  Alphabet alphabet;
  alphabet.bytes.fill(-1);
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const char32_t code = printable ? static_cast<char32_t>(byte) : next++;
    AppendUtf8(code, alphabet.chars[byte]);
    alphabet.bytes[code] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet = MakeAlphabet();
  return alphabet;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string_view ByteLevelChar(unsigned char byte) { return GetAlphabet().chars[byte]; }

std::string ToByteLevel(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += ByteLevelChar(static_cast<unsigned char>(byte));
  return out;
}

std::optional<std::string> FromByteLevel(std::string_view token) {
  const Alphabet& alphabet = GetAlphabet();
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const Utf8Step step = NextUtf8(token, i);
    if (!step.valid || step.code >= alphabet.bytes.size() || alphabet.bytes[step.code] < 0) {
      return std::nullopt;
    }
    out += static_cast<char>(alphabet.bytes[step.code]);
    i += step.length;
  }
  return out;
}

std::optional<unsigned char> ParseByteToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = HexDigit(token[3]);
  const int low = HexDigit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

std::string ByteTokenName(unsigned char byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + '>';
}

}  // namespace rondo
