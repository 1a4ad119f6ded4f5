#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/with_file.h"
#include "corpus/cache_key.h"
#include "corpus/pack.h"
#include "corpus/shard_set.h"
#include "corpus/token_data.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

// Held by the one process that packs into a directory; the system frees it when that one dies.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& directory) {
    std::error_code code;
    fs::create_directories(directory, code);
    const std::string path = (fs::path(directory) / "lock").string();
    fd_ = code ? -1 : open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0 || flock(fd_, LOCK_EX) != 0) {
      const std::error_code why = code ? code : std::error_code(errno, std::generic_category());
      if (fd_ >= 0) close(fd_);
      throw Error({.function = "OpenCorpus",
                   .problem = "cannot use the cache directory: " + why.message(),
                   .expected = "a directory that can be written to",
                   .file = directory});
    }
  }
  ~DirectoryLock() { close(fd_); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int fd_ = -1;
};

// What a killed process left of this shard. The caller holds the lock, so nobody is writing it.
void RemoveLeftovers(const std::string& shard_path) {
  const fs::path path(shard_path);
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(path.parent_path())) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(path.filename().string() + ".") && IsTemporaryPath(entry.path())) {
      leftovers.push_back(entry.path());
    }
  }
  std::error_code ignored;
  for (const fs::path& leftover : leftovers) fs::remove(leftover, ignored);
}

[[noreturn]] void FailOption(const char* field, std::string problem, std::string expected) {
  throw Error({.function = "OpenCorpus",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .field = field});
}

void CheckOptions(const CorpusOptions& options) {
  if (options.files.empty()) FailOption("files", "none", "at least one file");
  if (!(options.held_out >= 0 && options.held_out < 1)) {
    FailOption("held_out", std::to_string(options.held_out), "0 or more and below 1");
  }
  if (options.held_out_documents < 0) {
    FailOption("held_out_documents", std::to_string(options.held_out_documents), "0 or more");
  }
  if (options.held_out > 0 && options.held_out_documents > 0) {
    FailOption("held_out_documents", "given beside held_out", "one of the two");
  }
}

std::shared_ptr<const ShardSet> OpenShards(const CorpusOptions& options, const Tokenizer& tokenizer,
                                           const std::string& cache_directory, ThreadPool& pool,
                                           bool quiet) {
  auto set = std::make_shared<ShardSet>();
  set->header = {.tokenizer = TokenizerFingerprint(tokenizer),
                 .vocab_size = static_cast<uint64_t>(tokenizer.vocab_size()),
                 .key = 0};
  int64_t documents = 0;
  for (const std::string& file : options.files) {
    ShardHeader header = set->header;
    header.key = CacheKey(file, options, header.tokenizer);
    const std::string path = ShardPath(cache_directory, file, header.key);
    if (!Shard::Exists(path)) {
      const DirectoryLock lock(cache_directory);
      if (!Shard::Exists(path)) {  // another process may just have written it
        RemoveLeftovers(path);
        PackFile(file, options, tokenizer, header, path, pool, quiet);
      }
    }
    set->first.push_back(documents);
    set->shards.emplace_back(path, header);
    documents += std::ssize(set->shards.back().documents());
  }
  return set;
}

uint64_t SplitHash(uint64_t text_hash, uint64_t seed) {
  return CombineHash(CombineHash(0x5eed, seed), text_hash);
}

// Documents whose hash is at most this are held out; none if there is no such number.
std::optional<uint64_t> HeldOutLimit(const CorpusOptions& options, const ShardSet& set) {
  if (options.held_out > 0) {
    return static_cast<uint64_t>(std::ldexp(options.held_out, 64));
  }
  if (options.held_out_documents == 0) return {};
  std::vector<uint64_t> hashes;
  for (const Shard& shard : set.shards) {
    for (const ShardDocument& document : shard.documents()) {
      hashes.push_back(SplitHash(document.hash, options.held_out_seed));
    }
  }
  if (options.held_out_documents >= std::ssize(hashes)) {
    FailOption("held_out_documents", std::to_string(options.held_out_documents),
               "fewer than the corpus has: " + std::to_string(hashes.size()));
  }
  const auto last = hashes.begin() + (options.held_out_documents - 1);
  std::nth_element(hashes.begin(), last, hashes.end());
  return *last;
}

}  // namespace

TokenSplit OpenCorpus(const CorpusOptions& options, const Tokenizer& tokenizer,
                      const std::string& cache_directory, ThreadPool& pool, bool quiet) {
  CheckOptions(options);
  const auto set = OpenShards(options, tokenizer, cache_directory, pool, quiet);
  const std::optional<uint64_t> limit = HeldOutLimit(options, *set);
  TokenDataBuilder train(set), held_out(set);
  int64_t number = 0;
  for (const Shard& shard : set->shards) {
    uint64_t begin = 0;
    for (const ShardDocument& document : shard.documents()) {
      const bool out = limit && SplitHash(document.hash, options.held_out_seed) <= *limit;
      (out ? held_out : train)
          .Add(number++, static_cast<int64_t>(document.end - begin), document.hash);
      begin = document.end;
    }
  }
  return {train.Finish(), held_out.Finish()};
}

}  // namespace rondo
