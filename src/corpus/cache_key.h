// Which shard belongs to a file.
#pragma once

#include <cstdint>
#include <string>

#include "corpus/token_data.h"

namespace rondo {

// Hashes the file's size, time of change, first and last 64 KiB, the tokenizer and every option
// that changes tokens, but not the path. Throws when the file cannot be read.
uint64_t CacheKey(const std::string& file, const CorpusOptions& options, uint64_t tokenizer);

// Path of the shard without its endings: DIRECTORY/NAME-KEY.
std::string ShardPath(const std::string& cache_directory, const std::string& file, uint64_t key);

}  // namespace rondo
