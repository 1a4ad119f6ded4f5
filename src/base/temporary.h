// Files and directories that are still being written. They stand beside their target as
// "<target>.tmp-<pid>-<n>" and are locked (flock) while their process lives, so that the next
// writer to the same target can tell what a killed process left and removes it.
#pragma once

#include <filesystem>
#include <string>

namespace rondo {

class Temporary {
 public:
  enum class Kind { kFile, kDirectory };
  // Removes what dead processes left beside `target`, then creates an empty file or directory.
  // Throws rondo::Error naming `target`.
  Temporary(const std::string& target, Kind kind);
  // Removes it, unless it was released.
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }  // of a file open for writing, or of a directory
  // What has been renamed to its final name is temporary no longer.
  void Release();

 private:
  std::string path_;
  int descriptor_ = -1;
};

// Whether a path is named as a Temporary is.
bool IsTemporaryPath(const std::filesystem::path& path);

// Removes every Temporary of this process and lets none be made any more: the last thing that a
// program ended by a signal does.
void RemoveTemporaries();

}  // namespace rondo
