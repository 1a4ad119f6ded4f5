#include "base/warn.h"

#include <cstdio>
#include <mutex>
#include <set>

namespace rondo {

void Warn(const std::string& message) {
  static std::mutex mutex;
  static std::set<std::string> said;
  std::lock_guard lock(mutex);
  if (said.insert(message).second) std::fprintf(stderr, "rondo: warning: %s\n", message.c_str());
}

}  // namespace rondo
