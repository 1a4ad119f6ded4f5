// Character classes that tokenizers ask about outside of regular expressions.
#pragma once

#include <cstddef>
#include <string_view>

namespace rondo {

bool IsSpace(char32_t code);     // White_Space
bool IsNumber(char32_t code);    // general category N*, Unicode 17
bool IsWordChar(char32_t code);  // \w of the Unicode standard's annex on regular expressions

// End of the run of spaces that starts at `position`, and begin of the run that ends there.
size_t SpaceRunEnd(std::string_view text, size_t position);
size_t SpaceRunBegin(std::string_view text, size_t position);

}  // namespace rondo
