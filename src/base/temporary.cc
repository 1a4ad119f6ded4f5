#include "base/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <mutex>
#include <set>
#include <system_error>

#include "base/hash.h"
#include "rondo/error.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMark = ".tmp-";

struct Registry {
  std::mutex mutex;
  std::set<std::string> paths;
};

Registry& TheRegistry() {
  static Registry* registry = new Registry;  // outlives all threads
  return *registry;
}

[[noreturn]] void Fail(const std::string& target, const char* action) {
  const int code = errno;
  throw Error(
      {.function = "Temporary",
       .problem = std::string("cannot ") + action + ": " + std::generic_category().message(code),
       .expected = {},
       .file = target,
       .field = {}});
}

fs::path FolderOf(const fs::path& target) {
  return target.has_parent_path() ? target.parent_path() : fs::path(".");
}

// The name of `target` and the mark. A name too long for a suffix is cut, and tells itself from
// others by its hash.
std::string Stem(const fs::path& target) {
  constexpr size_t kSuffix = 32;  // ".tmp-", two numbers
  std::string name = target.filename().string();
  if (name.size() + kSuffix > NAME_MAX && name.size() <= NAME_MAX) {
    const std::string hash = std::to_string(HashText(name));
    name = name.substr(0, NAME_MAX - kSuffix - hash.size()) + hash;
  }
  return name + kMark;
}

// Locks an open file for this process; false when another one has it.
bool Lock(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB) == 0; }

bool IsAbandoned(const fs::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return false;
  const bool abandoned = Lock(descriptor);
  close(descriptor);
  return abandoned;
}

void RemoveAbandoned(const fs::path& target) {
  const std::string stem = Stem(target);
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(FolderOf(target), code)) {
    if (!entry.path().filename().string().starts_with(stem)) continue;
    std::error_code ignored;
    if (IsAbandoned(entry.path())) fs::remove_all(entry.path(), ignored);
  }
}

int Create(const std::string& path, Temporary::Kind kind) {
  if (kind == Temporary::Kind::kFile) {
    return open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  std::error_code code;
  if (!fs::create_directories(path, code)) {
    errno = code ? code.value() : EEXIST;
    return -1;
  }
  return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

}  // namespace

Temporary::Temporary(const std::string& target, Kind kind) {
  static std::atomic<int> count = 0;
  RemoveAbandoned(target);
  path_ = (fs::path(target).parent_path() / Stem(target)).string() + std::to_string(getpid()) +
          "-" + std::to_string(++count);
  Registry& registry = TheRegistry();
  const std::lock_guard lock(registry.mutex);
  descriptor_ = Create(path_, kind);
  if (descriptor_ < 0) Fail(target, kind == Kind::kFile ? "create" : "create the directory");
  Lock(descriptor_);  // file systems without locks leave abandoned files to the user
  registry.paths.insert(path_);
}

void Temporary::Release() {
  if (path_.empty()) return;
  Registry& registry = TheRegistry();
  {
    const std::lock_guard lock(registry.mutex);
    registry.paths.erase(path_);
  }
  close(descriptor_);
  path_.clear();
}

Temporary::~Temporary() {
  if (path_.empty()) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  Release();
}

bool IsTemporaryPath(const fs::path& path) { return path.extension().string().starts_with(kMark); }

void RemoveTemporaries() {
  Registry& registry = TheRegistry();
  registry.mutex.lock();  // for good
  for (const std::string& path : registry.paths) {
    // Other threads may still create files in it; once the directory is gone they cannot.
    constexpr int kTries = 1000;
    std::error_code code;
    for (int i = 0; i < kTries && fs::exists(path, code); ++i) fs::remove_all(path, code);
  }
}

}  // namespace rondo
