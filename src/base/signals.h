// How a program ends when it is told to, or when a file is taken away under it.
//
//   int main() {
//     HandleSignals("rondo");   // before any thread is started
//
// SIGINT, SIGTERM and SIGHUP remove what was being written (base/temporary.h) and then end the
// program as they do by default. SIGBUS, which a mapped file raises when it is cut, becomes an
// error that names the file, with exit code 1.
#pragma once

#include <functional>

namespace rondo {

void HandleSignals(const char* program);

// While one lives, the first SIGINT or SIGTERM calls `request` (in a thread of its own) instead of
// ending the program; the second one ends it.
class InterruptScope {
 public:
  explicit InterruptScope(std::function<void()> request);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

// Gives signals back to a program that takes the place of this one (exec).
void ReleaseSignals();

}  // namespace rondo
