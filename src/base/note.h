// What a user has to know although nothing failed.
#pragma once

#include <string>

namespace rondo {

// Writes "rondo: TEXT" to standard error, the same text once in a process.
void Note(const std::string& text);

}  // namespace rondo
