// Patterns of names.
#pragma once

#include <string_view>

namespace rondo {

// Whether `name` as a whole matches `pattern`, in which "*" stands for any run of characters
// and "?" for any one.
bool GlobMatch(std::string_view pattern, std::string_view name);

}  // namespace rondo
