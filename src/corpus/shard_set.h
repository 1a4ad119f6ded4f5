// The shards of a corpus as one list of documents.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "corpus/shard.h"
#include "corpus/token_data.h"

namespace rondo {

struct ShardSet {
  std::vector<Shard> shards;
  std::vector<int64_t> first;  // [shards] number of the shard's first document
  ShardHeader header;

  // The shard that holds a document, and the document's number there.
  std::pair<const Shard*, size_t> Find(int64_t document) const {
    const auto after = std::upper_bound(first.begin(), first.end(), document);
    const auto index = static_cast<size_t>(after - first.begin()) - 1;
    return {&shards[index], static_cast<size_t>(document - first[index])};
  }
};

// Collects the documents of one side of a split.
class TokenDataBuilder {
 public:
  explicit TokenDataBuilder(std::shared_ptr<const ShardSet> shards);
  void Add(int64_t document, int64_t tokens, uint64_t hash);
  std::shared_ptr<const TokenData> Finish() { return std::move(data_); }

 private:
  std::shared_ptr<TokenData> data_;
};

}  // namespace rondo
