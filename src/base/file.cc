#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/mapped_range.h"
#include "rondo/error.h"

#ifdef RONDO_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace rondo {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void Fail(const char* function, const std::string& path, std::string problem,
                       std::string expected = {}) {
  throw Error({.function = function,
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = path,
               .field = {}});
}

[[noreturn]] void FailSystem(const char* function, const fs::path& path, const char* action,
                             int code) {
  Fail(function, path.string(),
       std::string("cannot ") + action + ": " + std::generic_category().message(code));
}

fs::file_status StatusOf(const fs::path& path) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (code && status.type() != fs::file_type::not_found) {
    FailSystem("PathExists", path, "look", code.value());
  }
  return status;
}

// A mapping goes on to the end of its page. The address sanitizer is told that what is behind the
// file is not to be read; without it this does nothing.
void GuardEnd(const void* data, size_t size, bool guard) {
#ifdef RONDO_ADDRESS_SANITIZER
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t rest = (page - size % page) % page;
  const char* end = static_cast<const char*>(data) + size;
  if (guard) ASAN_POISON_MEMORY_REGION(end, rest);
  if (!guard) ASAN_UNPOISON_MEMORY_REGION(end, rest);
#else
  (void)data, (void)size, (void)guard;
#endif
}

const char* KindName(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

// A pipe is opened without waiting for its writer, and then refused.
std::shared_ptr<const MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) FailSystem("MappedFile::Open", path, "open", errno);
  struct stat info;
  const bool known = fstat(fd, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    const int code = errno;
    close(fd);
    if (!known) FailSystem("MappedFile::Open", path, "look", code);
    Fail("MappedFile::Open", path, std::string("is ") + KindName(info.st_mode), "a regular file");
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<size_t>(info.st_size);
  if (file->size_ > 0) {
    void* data = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const int code = errno;
      close(fd);
      FailSystem("MappedFile::Open", path, "map", code);
    }
    file->data_ = static_cast<const std::byte*>(data);
    AddMappedRange(data, file->size_, file->path_.c_str());
    GuardEnd(data, file->size_, true);
  }
  close(fd);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  RemoveMappedRange(data_);
  GuardEnd(data_, size_, false);
  munmap(const_cast<std::byte*>(data_), size_);
}

std::string ReadTextFile(const std::string& path, uint64_t max_bytes) {
  const auto file = MappedFile::Open(path);
  const auto bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    Fail("ReadTextFile", path, "file has " + std::to_string(bytes.size()) + " bytes",
         "at most " + std::to_string(max_bytes));
  }
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool PathExists(const fs::path& path) { return fs::exists(StatusOf(path)); }
bool IsDirectory(const fs::path& path) { return fs::is_directory(StatusOf(path)); }
bool IsRegularFile(const fs::path& path) { return fs::is_regular_file(StatusOf(path)); }

std::vector<fs::path> ListDirectory(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code code;
  fs::directory_iterator it(directory, code);
  for (; !code && it != fs::directory_iterator(); it.increment(code)) entries.push_back(it->path());
  if (code) FailSystem("ListDirectory", directory, "list", code.value());
  std::sort(entries.begin(), entries.end());
  return entries;
}

void MakeDirectories(const fs::path& directory) {
  std::error_code code;
  fs::create_directories(directory, code);
  if (code) FailSystem("MakeDirectories", directory, "create the directory", code.value());
}

void SyncPath(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) FailSystem("SyncPath", path, "open", errno);
  const int failed = fsync(fd);
  const int code = errno;
  close(fd);
  if (failed) FailSystem("SyncPath", path, "sync", code);
}

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(path_, Temporary::Kind::kFile) {
  const int descriptor = fcntl(temporary_.descriptor(), F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) FailSystem("AtomicFile", path_, "open", errno);
  file_ = fdopen(descriptor, "wb");
  if (file_ == nullptr) FailSystem("AtomicFile", path_, "open", errno);
}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) std::fclose(file_);
}

void AtomicFile::Write(const void* data, size_t size) {
  if (size == 0) return;
  if (std::fwrite(data, 1, size, file_) != size) FailSystem("AtomicFile", path_, "write", errno);
  written_ += size;
}

void AtomicFile::Commit() {
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0) {
    FailSystem("AtomicFile", path_, "write", errno);
  }
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0 || std::rename(temporary_.path().c_str(), path_.c_str()) != 0) {
    FailSystem("AtomicFile", path_, "replace", errno);
  }
  temporary_.Release();
  const fs::path folder = fs::path(path_).parent_path();
  SyncPath(folder.empty() ? "." : folder);
}

void WriteTextFile(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.Write(text);
  file.Commit();
}

}  // namespace rondo
