// Models that llama-gguf-split cut into several files.
#include <cstdio>
#include <utility>

#include "formats/gguf.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr std::string_view kCountKey = "split.count";
constexpr std::string_view kNumberKey = "split.no";  // from 0
constexpr std::string_view kTensorsKey = "split.tensors.count";
constexpr int64_t kMaxParts = 65535;  // split.no is a 16-bit integer

[[noreturn]] void Fail(const std::string& file, std::string_view field, std::string problem,
                       std::string expected) {
  throw Error({.function = "ReadGguf",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = file,
               .field = std::string(field)});
}

std::string Ending(int64_t number, int64_t count) {
  char text[64];
  std::snprintf(text, sizeof(text), "-%05lld-of-%05lld.gguf", static_cast<long long>(number),
                static_cast<long long>(count));
  return text;
}

// What stands before "-00002-of-00003.gguf" in the name of part `number`, from 1.
std::string StemOf(const std::string& path, int64_t number, int64_t count) {
  const std::string ending = Ending(number, count);
  if (path.ends_with(ending)) return path.substr(0, path.size() - ending.size());
  Fail(path, kCountKey,
       "part " + std::to_string(number) + " of " + std::to_string(count) + " of a split model",
       "a name that ends in " + ending + ", and the other parts beside it");
}

}  // namespace

GgufFile GgufFile::Open(const std::string& path) {
  GgufFile file = OpenPart(path);
  const int64_t count = file.Int(kCountKey, 1);
  if (count <= 1) return file;
  if (count > kMaxParts) Fail(path, kCountKey, std::to_string(count), "at most 65535 parts");
  if (const int64_t number = file.Int(kNumberKey, 0); number != 0) {
    file = OpenPart(StemOf(path, number + 1, count) + Ending(1, count));
  }
  file.AddParts(count);
  return file;
}

void GgufFile::AddParts(int64_t count) {
  const std::string stem = StemOf(path_, 1, count);
  for (int64_t number = 1; number < count; ++number) {
    GgufFile part = OpenPart(stem + Ending(number + 1, count));
    if (part.Int(kNumberKey) != number || part.Int(kCountKey) != count) {
      Fail(part.path_, kNumberKey,
           std::to_string(part.Int(kNumberKey)) + " of " + std::to_string(part.Int(kCountKey)),
           std::to_string(number) + " of " + std::to_string(count) + ", as its name says");
    }
    file_bytes_ += part.file_bytes_;
    for (auto& [name, tensor] : part.tensors_) {
      if (!tensors_.emplace(name, tensor).second) {
        Fail(part.path_, name, "duplicate tensor", "each tensor in one part");
      }
    }
  }
  const auto have = static_cast<int64_t>(tensors_.size());
  if (Int(kTensorsKey, have) != have) {
    Fail(path_, kTensorsKey, std::to_string(Int(kTensorsKey)),
         "the " + std::to_string(have) + " tensors of all parts");
  }
}

}  // namespace rondo
