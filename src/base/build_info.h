// Which rondo this is.
#pragma once

#include <string_view>

namespace rondo {

std::string_view BuildVersion();  // "0.1.0"
// The commit it was built from, "1a2b3c4d5e6f", with "+" behind where sources were changed since;
// "unknown" where it was not built from a git checkout.
std::string_view BuildCommit();

}  // namespace rondo
