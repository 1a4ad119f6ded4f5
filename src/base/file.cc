#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "rondo/error.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void ThrowErrno(const char* function, const std::string& path, const char* action) {
  const int code = errno;
  throw Error(
      {.function = function,
       .problem = std::string("cannot ") + action + ": " + std::generic_category().message(code),
       .expected = {},
       .file = path,
       .field = {}});
}

constexpr const char* kTemporary = ".tmp-";

std::string TemporaryName(const std::string& path) {
  return path + kTemporary + std::to_string(getpid());
}

void SyncPath(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags);
  if (fd < 0) ThrowErrno("SyncPath", path, "open");
  const int failed = fsync(fd);
  close(fd);
  if (failed) ThrowErrno("SyncPath", path, "sync");
}

std::string ParentOf(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

// "models/x/" and "models/x" are the same directory.
std::string WithoutTrailingSlash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) ThrowErrno("MappedFile::Open", path, "open");
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    if (errno == 0 || !S_ISREG(info.st_mode)) errno = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    close(fd);
    ThrowErrno("MappedFile::Open", path, "map");
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<size_t>(info.st_size);
  if (file->size_ > 0) {
    void* data = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      close(fd);
      ThrowErrno("MappedFile::Open", path, "map");
    }
    file->data_ = static_cast<const std::byte*>(data);
  }
  close(fd);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

std::string ReadTextFile(const std::string& path, uint64_t max_bytes) {
  const auto file = MappedFile::Open(path);
  const auto bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    throw Error({.function = "ReadTextFile",
                 .problem = "file has " + std::to_string(bytes.size()) + " bytes",
                 .expected = "at most " + std::to_string(max_bytes),
                 .file = path,
                 .field = {}});
  }
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(TemporaryName(path_)) {
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (file_ == nullptr) ThrowErrno("AtomicFile", temporary_, "create");
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::remove(temporary_.c_str());
}

void AtomicFile::Write(const void* data, size_t size) {
  if (size == 0) return;
  if (std::fwrite(data, 1, size, file_) != size) ThrowErrno("AtomicFile", path_, "write");
  written_ += size;
}

void AtomicFile::Commit() {
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0) {
    ThrowErrno("AtomicFile", path_, "write");
  }
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    std::remove(temporary_.c_str());
    errno = code;
    ThrowErrno("AtomicFile", path_, "replace");
  }
  SyncPath(ParentOf(path_), O_RDONLY | O_DIRECTORY);
}

bool IsTemporaryPath(const fs::path& path) {
  return path.extension().string().starts_with(kTemporary);
}

void WriteTextFile(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.Write(text);
  file.Commit();
}

AtomicDirectory::AtomicDirectory(std::string target)
    : target_(WithoutTrailingSlash(std::move(target))), temporary_(TemporaryName(target_)) {
  std::error_code ignored;
  if (fs::exists(target_, ignored)) {
    const bool replaceable =
        fs::is_directory(target_, ignored) &&
        (fs::is_empty(target_, ignored) || fs::exists(fs::path(target_) / "config.json", ignored));
    if (!replaceable) {
      throw Error({.function = "AtomicDirectory",
                   .problem = "already exists and is not a model directory",
                   .expected = "a new path, an empty directory or an older model directory",
                   .file = target_,
                   .field = {}});
    }
  }
  std::error_code code;
  fs::remove_all(temporary_, ignored);
  fs::create_directories(temporary_, code);
  if (code) {
    errno = code.value();
    ThrowErrno("AtomicDirectory", temporary_, "create directory");
  }
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::Commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) {
    if (entry.is_regular_file()) SyncPath(entry.path().string(), O_RDONLY);
  }
  SyncPath(temporary_, O_RDONLY | O_DIRECTORY);
  const std::string aside = temporary_ + "-old";
  const bool had_target = fs::exists(target_);
  if (had_target && std::rename(target_.c_str(), aside.c_str()) != 0) {
    ThrowErrno("AtomicDirectory", target_, "move aside");
  }
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int code = errno;
    if (had_target) std::rename(aside.c_str(), target_.c_str());
    errno = code;
    ThrowErrno("AtomicDirectory", target_, "replace");
  }
  temporary_.clear();
  SyncPath(ParentOf(target_), O_RDONLY | O_DIRECTORY);
  std::error_code ignored;
  if (had_target) fs::remove_all(aside, ignored);
}

}  // namespace rondo
