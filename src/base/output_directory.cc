// Outputs that destroy nothing: what may be replaced, and how a directory is.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/byte_source.h"
#include "base/file.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

// Lists what rondo wrote into a directory: a line of explanation, then "<bytes> <name>" each.
constexpr const char* kListName = ".rondo-files";
constexpr const char* kListHeader = "Files that rondo wrote here and may replace: bytes, name.\n";

[[noreturn]] void Fail(const std::string& path, std::string problem, std::string expected) {
  throw Error({.function = "CheckOutput",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = {}});
}

[[noreturn]] void FailSystem(const fs::path& path, const char* action, int code) {
  Fail(path.string(),
       std::string("cannot ") + action + ": " + std::generic_category().message(code), {});
}

// Absolute, without links, "." and ".."; what does not exist keeps its name.
fs::path Resolved(const fs::path& path) {
  std::error_code code;
  const fs::path resolved = fs::weakly_canonical(path, code);
  if (code) FailSystem(path, "look", code.value());
  // "a/b/" names the same as "a/b".
  return resolved.has_filename() ? resolved : resolved.parent_path();
}

// Every file and directory below, relative to `directory`. Links are entries, and not followed.
std::vector<fs::path> Below(const fs::path& directory) {
  std::vector<fs::path> paths;
  std::error_code code;
  fs::recursive_directory_iterator it(directory, code);
  for (; !code && it != fs::recursive_directory_iterator(); it.increment(code)) {
    paths.push_back(it->path().lexically_relative(directory));
  }
  if (code) FailSystem(directory, "list", code.value());
  std::sort(paths.begin(), paths.end());
  return paths;
}

void WriteList(const std::string& directory) {
  std::string text = kListHeader;
  for (const fs::path& path : Below(directory)) {
    const fs::path file = fs::path(directory) / path;
    if (!IsRegularFile(file)) continue;
    text += std::to_string(fs::file_size(file)) + " " + path.string() + "\n";
  }
  WriteTextFile((fs::path(directory) / kListName).string(), text);
}

// Bytes by name; empty without a list.
std::map<std::string, uint64_t> ReadList(const fs::path& directory) {
  std::map<std::string, uint64_t> files;
  const fs::path list = directory / kListName;
  if (!IsRegularFile(list)) return files;
  std::istringstream in(ReadTextFile(list.string(), uint64_t{1} << 20));
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    const size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    files[line.substr(space + 1)] = std::strtoull(line.c_str(), nullptr, 10);
  }
  return files;
}

// The first few names of a list.
std::string Some(const std::vector<std::string>& names) {
  constexpr size_t kMost = 4;
  const size_t count = std::min(kMost, names.size());
  std::string text = Join({names.begin(), names.begin() + static_cast<ptrdiff_t>(count)}, ", ");
  if (names.size() > count) text += " and " + std::to_string(names.size() - count) + " more";
  return text;
}

// Whether `path` is `folder` or below it; both are resolved.
bool IsWithin(const fs::path& path, const fs::path& folder) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

bool SameFile(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return a == b || fs::equivalent(a, b, ignored);
}

// What is no file or directory, and so cannot be destroyed: a pipe, standard input.
bool IsStream(const std::string& name) {
  std::error_code ignored;
  const fs::file_status status = fs::status(name, ignored);
  return IsStandardInput(name) || fs::is_fifo(status) || fs::is_socket(status) ||
         fs::is_character_file(status);
}

}  // namespace

std::vector<std::string> ForeignFiles(const std::string& directory) {
  std::map<std::string, uint64_t> own = ReadList(directory);
  std::vector<std::string> foreign;
  for (const fs::path& path : Below(directory)) {
    const fs::path full = fs::path(directory) / path;
    const std::string name = path.string();
    if (name == kListName && !own.empty()) continue;
    const fs::file_status status = fs::symlink_status(full);
    if (fs::is_directory(status)) {
      // Made by rondo when something of its own is in it.
      const auto next = own.lower_bound(name + "/");
      const bool made = next != own.end() && next->first.starts_with(name + "/");
      if (!made) foreign.push_back(name + "/");
      continue;
    }
    const auto found = own.find(name);
    const bool known =
        fs::is_regular_file(status) && found != own.end() && found->second == fs::file_size(full);
    if (!known) foreign.push_back(name);
  }
  return foreign;
}

void CheckOutputDirectory(const std::string& target, const OutputRules& rules) {
  const fs::path resolved = Resolved(target);
  for (const std::string& name : rules.inputs) {
    if (name.empty() || IsStream(name)) continue;
    const fs::path input = Resolved(name);
    if (SameFile(input, resolved)) Fail(target, "is the input", "another place for the output");
    if (IsWithin(input, resolved)) {
      Fail(target, "holds the input " + name, "another place for the output");
    }
    if (IsWithin(resolved, input)) {
      Fail(target, "is inside the input " + name, "another place for the output");
    }
  }
  if (!PathExists(resolved)) return;
  if (!IsDirectory(resolved)) Fail(target, "is a file", "a directory to write");
  const std::vector<std::string> foreign = ForeignFiles(resolved.string());
  if (foreign.empty() || rules.force) return;
  Fail(target, "holds what rondo did not write: " + Some(foreign),
       "a new or empty directory, one that holds only what rondo wrote, or --force to delete all "
       "that is in it");
}

void CheckOutputFile(const std::string& target, const OutputRules& rules) {
  const fs::path resolved = Resolved(target);
  if (IsDirectory(resolved)) Fail(target, "is a directory", "a file to write");
  for (const std::string& name : rules.inputs) {
    if (name.empty() || IsStream(name)) continue;
    const fs::path input = Resolved(name);
    if (SameFile(input, resolved)) Fail(target, "is the input", "another name for the output");
    if (IsWithin(resolved, input) && PathExists(resolved)) {
      Fail(target, "is a part of the input " + name, "another name for the output");
    }
  }
  if (PathExists(resolved) && !IsRegularFile(resolved)) {
    Fail(target, "is a pipe or a device", "a file to write");
  }
}

void CheckRoom(const std::string& target, bool directory, uint64_t bytes) {
  const Temporary probe(target, directory ? Temporary::Kind::kDirectory : Temporary::Kind::kFile);
  struct statvfs info;
  if (fstatvfs(probe.descriptor(), &info) != 0) return;  // cannot be told here
  const uint64_t free = uint64_t{info.f_bavail} * info.f_frsize;
  if (free >= bytes) return;
  constexpr uint64_t kMega = 1'000'000;
  Fail(target, std::to_string(free / kMega) + " MB are free there",
       std::to_string((bytes + kMega - 1) / kMega) + " MB for the output");
}

AtomicDirectory::AtomicDirectory(const std::string& target, OutputRules rules)
    : rules_(std::move(rules)),
      target_((CheckOutputDirectory(target, rules_), Resolved(target).string())),
      temporary_(target_, Temporary::Kind::kDirectory) {}

void AtomicDirectory::Commit() {
  WriteList(path());
  for (const auto& entry : fs::recursive_directory_iterator(path())) {
    if (entry.is_regular_file() || entry.is_directory()) SyncPath(entry.path());
  }
  SyncPath(path());
  // Hours may have passed.
  CheckOutputDirectory(target_, rules_);
  if (!PathExists(target_)) {
    if (std::rename(path().c_str(), target_.c_str()) != 0) FailSystem(target_, "rename", errno);
    temporary_.Release();
  } else if (renameat2(AT_FDCWD, path().c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    // The temporary is now what was replaced, and goes with this object.
  } else if (errno == EINVAL || errno == ENOSYS) {
    // A file system that cannot exchange: the old directory steps aside, and back if that fails.
    const Temporary aside(target_, Temporary::Kind::kDirectory);
    const std::string old = aside.path() + "/old";
    if (std::rename(target_.c_str(), old.c_str()) != 0) FailSystem(target_, "move aside", errno);
    if (std::rename(path().c_str(), target_.c_str()) != 0) {
      const int code = errno;
      std::rename(old.c_str(), target_.c_str());
      FailSystem(target_, "replace", code);
    }
    temporary_.Release();
  } else {
    FailSystem(target_, "replace", errno);
  }
  SyncPath(fs::path(target_).parent_path());
}

}  // namespace rondo
