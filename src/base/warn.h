// What a user has to know although nothing failed.
#pragma once

#include <string>

namespace rondo {

// Write "rondo: TEXT" and "rondo: warning: TEXT" to standard error, the same text once in a
// process. Thread-safe.
void Note(const std::string& text);
void Warn(const std::string& text);

}  // namespace rondo
