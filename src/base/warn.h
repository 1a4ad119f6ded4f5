// What a user should know although it is no error.
#pragma once

#include <string>

namespace rondo {

// Prints "rondo: warning: MESSAGE" on standard error, the same message once in a process.
// Thread-safe.
void Warn(const std::string& message);

}  // namespace rondo
