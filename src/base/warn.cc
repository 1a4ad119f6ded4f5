#include "base/warn.h"

#include <cstdio>
#include <mutex>
#include <set>

namespace rondo {

void Note(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(text).second) std::fprintf(stderr, "rondo: %s\n", text.c_str());
}

void Warn(const std::string& text) { Note("warning: " + text); }

}  // namespace rondo
