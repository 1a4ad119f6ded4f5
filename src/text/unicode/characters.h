// Character classes that tokenizers ask about outside of regular expressions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rondo {

bool IsSpace(char32_t code);           // White_Space
bool IsPythonSpace(char32_t code);     // str.isspace(): and the information separators
bool IsPunctuation(char32_t code);     // of `tokenizers`: ASCII's and P*
bool IsNumber(char32_t code);          // general category N*, Unicode 17
bool IsWordChar(char32_t code);        // \w of the Unicode standard's annex on regular expressions
bool IsLetterOrNumber(char32_t code);  // general category L* or N*; Python's str.isalnum()
bool IsPrintable(char32_t code);       // Python's str.isprintable()
bool IsDecimalDigit(char32_t code);    // Nd
bool IsLetter(char32_t code);          // L*; str.isalpha()
// UTF-8 of the capitals of a character that has several ("ß": "SS"); nullptr for others.
const char* LongCapitals(char32_t code);
// Lower case of one character, appended to `out`: Unicode 17's full mapping without context.
void AppendLowercase(char32_t code, std::string& out);

// End of the run of spaces that starts at `position`, and begin of the run that ends there.
size_t SpaceRunEnd(std::string_view text, size_t position);
size_t SpaceRunBegin(std::string_view text, size_t position);

}  // namespace rondo
