// Files: memory-mapped reading and atomic writing. Every function throws rondo::Error naming the
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/temporary.h"

namespace rondo {

// A read-only memory-mapped file. The mapping lives as long as any shared_ptr to it.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Whole file as a string; refuses files larger than `max_bytes`.
std::string ReadTextFile(const std::string& path, uint64_t max_bytes = uint64_t{1} << 30);

// Paths: whether something is there. Symbolic links are followed. A name that the file system
// refuses (too long, no permission to look) is an error, not an absence.
bool PathExists(const std::filesystem::path& path);
bool IsDirectory(const std::filesystem::path& path);
bool IsRegularFile(const std::filesystem::path& path);
// Everything in a directory, in the order of names.
std::vector<std::filesystem::path> ListDirectory(const std::filesystem::path& directory);
void MakeDirectories(const std::filesystem::path& directory);
// Returns when a file, or the list of names in a directory, is on the disk.
void SyncPath(const std::filesystem::path& path);

// What an output must not destroy.
struct OutputRules {
  // What the output is made from. An output that is one of them, holds one, or is a directory
  // inside one is refused, also through links.
  std::vector<std::string> inputs;
  // Replaces a directory with all that is in it, also with what rondo did not write.
  bool force = false;
};

// Refuses a target that must not be written (see OutputRules). A directory may be replaced when it
// is empty, or holds nothing but files that rondo wrote, unchanged in size: AtomicDirectory lists
// them in a file ".rondo-files".
void CheckOutputDirectory(const std::string& target, const OutputRules& rules);
void CheckOutputFile(const std::string& target, const OutputRules& rules);
// What is in a directory and was not written by rondo, relative to it; directories end in "/".
std::vector<std::string> ForeignFiles(const std::string& directory);
// Proves that `target` can be written: makes a file or directory beside it, removes it again, and
// compares the free room with `bytes`. Throws rondo::Error.
void CheckRoom(const std::string& target, bool directory, uint64_t bytes);

// Writes to a Temporary beside `path` (base/temporary.h); Commit() syncs and renames. Without
// Commit() the destructor removes it, so `path` is either the old content or the whole new one.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(const void* data, size_t size);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  uint64_t written() const { return written_; }
  void Commit();

 private:
  std::string path_;
  Temporary temporary_;
  std::FILE* file_ = nullptr;
  uint64_t written_ = 0;
};

// A whole file at once, atomically.
void WriteTextFile(const std::string& path, std::string_view text);

// The same for a directory: files are created below path(); Commit() puts it in the place of
// `target` in one exchange, so that there is no moment without the one or the other. A link to a
// directory is followed.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(const std::string& target, OutputRules rules = {});
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::string& path() const { return temporary_.path(); }
  void Commit();

 private:
  OutputRules rules_;
  std::string target_;
  Temporary temporary_;
};

}  // namespace rondo
