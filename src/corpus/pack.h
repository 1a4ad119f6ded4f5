// Packing: the documents of one file, tokenised into a shard.
#pragma once

#include <string>

#include "corpus/shard.h"
#include "corpus/token_data.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace rondo {

// Documents are tokenised on all threads of the pool and written in order: the shard is the same
// for any number of threads. Throws for a file without documents.
void PackFile(const std::string& file, const CorpusOptions& options, const Tokenizer& tokenizer,
              const ShardHeader& header, const std::string& shard_path, ThreadPool& pool,
              bool quiet);

}  // namespace rondo
