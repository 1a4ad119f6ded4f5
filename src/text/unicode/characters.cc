#include "text/unicode/characters.h"

#include <utf8proc.h>

#include <string_view>

#include "text/unicode/tokenizers_tables.h"
#include "text/unicode/unicode_tables.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

// General category as two letters, Unicode 16 at least.
std::string_view Category(char32_t code) {
  const std::string_view known = utf8proc_category_string(static_cast<utf8proc_int32_t>(code));
  if (known != "Cn") return known;
  for (const CategoryRange& range : CategoriesSinceUnicode14()) {
    if (code >= range.first && code <= range.last) return range.category;
  }
  return known;
}

// Capitals that got a small letter since Unicode 15.
struct LowercaseRange {
  char32_t first, last, small;
};
constexpr LowercaseRange kLowercase[] = {{0x1C89, 0x1C89, 0x1C8A},    {0xA7CB, 0xA7CB, 0x264},
                                         {0xA7CC, 0xA7CC, 0xA7CD},    {0xA7CE, 0xA7CE, 0xA7CF},
                                         {0xA7D2, 0xA7D2, 0xA7D3},    {0xA7D4, 0xA7D4, 0xA7D5},
                                         {0xA7DA, 0xA7DA, 0xA7DB},    {0xA7DC, 0xA7DC, 0x19B},
                                         {0x10D50, 0x10D65, 0x10D70}, {0x16EA0, 0x16EB8, 0x16EBB}};

}  // namespace

bool IsPunctuation(char32_t code) { return Contains(TokenizersTables::Punctuation(), code); }

bool IsPythonSpace(char32_t code) { return IsSpace(code) || (code >= 0x1C && code <= 0x1F); }

bool IsLetter(char32_t code) { return Category(code)[0] == 'L'; }

bool IsPrintable(char32_t code) {
  const char kind = Category(code)[0];
  return code == ' ' || (kind != 'C' && kind != 'Z');
}

bool IsDecimalDigit(char32_t code) { return Category(code) == "Nd"; }

bool IsLetterOrNumber(char32_t code) { return IsLetter(code) || Category(code)[0] == 'N'; }

void AppendLowercase(char32_t code, std::string& out) {
  if (code == 0x130) {  // the only one that becomes two characters
    AppendUtf8('i', out);
    AppendUtf8(0x307, out);
    return;
  }
  for (const LowercaseRange& range : kLowercase) {
    if (code >= range.first && code <= range.last) {
      AppendUtf8(range.small + (code - range.first), out);
      return;
    }
  }
  AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))), out);
}

bool IsSpace(char32_t code) {
  return code == ' ' || (code >= 0x9 && code <= 0xD) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsNumber(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return Category(code)[0] == 'N' || Contains(NumbersOfUnicode17(), code);
}

bool IsWordChar(char32_t code) {
  const std::string_view category = Category(code);
  if (category[0] == 'L' || category[0] == 'M') return true;
  if (category == "Nd" || category == "Nl" || category == "Pc") return true;
  // Join_Control and the circled letters, which are alphabetic symbols.
  return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
         (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
         (code >= 0x1F170 && code <= 0x1F189);
}

size_t SpaceRunEnd(std::string_view text, size_t position) {
  while (position < text.size()) {
    const Utf8Step step = NextUtf8(text, position);
    if (!IsSpace(step.code)) break;
    position += step.length;
  }
  return position;
}

size_t SpaceRunBegin(std::string_view text, size_t position) {
  while (position > 0) {
    size_t begin = position - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!IsSpace(NextUtf8(text, begin).code)) break;
    position = begin;
  }
  return position;
}

}  // namespace rondo
