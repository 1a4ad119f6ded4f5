#include "fuzz/input.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace rondo::fuzz {
namespace {

namespace fs = std::filesystem;

struct Directory {
  Directory() {
    path = (fs::temp_directory_path() / "rondo_fuzz_XXXXXX").string();
    Require(mkdtemp(path.data()) != nullptr, "a temporary directory can be made");
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string path;
};

}  // namespace

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

void Refused(const Error& error) {
  static const bool say = std::getenv("RONDO_FUZZ_SAY") != nullptr;
  if (say) std::fprintf(stderr, "refused: %s\n", error.what());
}

std::string InputFile(std::string_view bytes) {
  static const int descriptor = memfd_create("input", MFD_CLOEXEC);
  const bool written =
      ftruncate(descriptor, 0) == 0 &&
      pwrite(descriptor, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  Require(written, "a file in memory can be written");
  return "/proc/self/fd/" + std::to_string(descriptor);
}

std::string InputDirectory() {
  static const Directory directory;
  return directory.path;
}

std::string WriteInput(const std::string& name, std::string_view bytes) {
  const fs::path path = fs::path(InputDirectory()) / name;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  Require(out.good(), "a file of the temporary directory can be written");
  return path.string();
}

std::vector<std::string_view> Parts(std::string_view input, size_t count) {
  std::vector<std::string_view> parts(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t end = i + 1 == count ? input.npos : input.find(kSeparator);
    parts[i] = input.substr(0, end);
    if (end == input.npos) break;
    input.remove_prefix(end + kSeparator.size());
  }
  return parts;
}

}  // namespace rondo::fuzz
