#include "corpus/cache_key.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "base/hash.h"
#include "corpus/document_reader.h"

namespace rondo {
namespace {

constexpr size_t kSample = size_t{64} << 10;
// Raise it when the same file and options begin to give other tokens.
constexpr uint64_t kPackingVersion = 2;

uint64_t OptionsKey(const CorpusOptions& options, bool jsonl) {
  uint64_t key = CombineHash(kPackingVersion, jsonl ? 1 : 0);
  key = CombineHash(key, jsonl ? HashText(options.field) : static_cast<uint64_t>(options.unit));
  for (const bool flag : {options.add_special, options.append_eos, options.parse_special}) {
    key = CombineHash(key, flag ? 1 : 0);
  }
  return key;
}

}  // namespace

uint64_t CacheKey(const std::string& file, const CorpusOptions& options, uint64_t tokenizer) {
  const auto mapped = MappedFile::Open(file);
  const auto bytes = mapped->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  struct stat info {};
  stat(file.c_str(), &info);
  uint64_t key = CombineHash(OptionsKey(options, IsJsonl(file)), tokenizer);
  key = CombineHash(key, bytes.size());
  key = CombineHash(key, static_cast<uint64_t>(info.st_mtim.tv_sec));
  key = CombineHash(key, static_cast<uint64_t>(info.st_mtim.tv_nsec));
  key = CombineHash(key, HashText(text.substr(0, kSample)));
  return CombineHash(key, HashText(text.substr(text.size() - std::min(text.size(), kSample))));
}

std::string ShardPath(const std::string& cache_directory, const std::string& file, uint64_t key) {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "-%016llx", static_cast<unsigned long long>(key));
  const std::string name = std::filesystem::path(file).filename().string() + digits.data();
  return (std::filesystem::path(cache_directory) / name).string();
}

}  // namespace rondo
