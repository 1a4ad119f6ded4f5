// Translation of Oniguruma patterns to PCRE2.
#pragma once

#include <string>

namespace rondo {

// Throws for anything outside the common part of the two syntaxes.
std::string OnigurumaToPcre2(const std::string& pattern, const std::string& file,
                             const std::string& field);

}  // namespace rondo
