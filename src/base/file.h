// Files: memory-mapped reading and atomic writing. Every rondo::Error names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

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

// Writes to `path + ".tmp-<pid>"`; Commit() syncs and renames. Without Commit() the destructor
// removes the temporary file, so `path` is either the old content or the whole new one.
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
  std::string temporary_;
  std::FILE* file_ = nullptr;
  uint64_t written_ = 0;
};

// Whether a path is what AtomicFile or AtomicDirectory writes to before Commit().
bool IsTemporaryPath(const std::filesystem::path& path);

// A whole file at once, atomically.
void WriteTextFile(const std::string& path, std::string_view text);

// The same for a directory: files are created below path(); Commit() replaces `target` by it.
// An existing target is moved aside first and restored if the rename fails. A target that is
// neither absent, nor an empty directory, nor a model directory (has config.json) is refused.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(std::string target);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::string& path() const { return temporary_; }
  void Commit();

 private:
  std::string target_;
  std::string temporary_;
};

}  // namespace rondo
