// Token shards: the packed tokens of one file on disk. The format is described in docs/data.md.
//
//   PATH.documents   header, then end position and text hash of every document
//   PATH.tokens      header, then all tokens; written last, so that it marks a finished shard
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/file.h"

namespace rondo {

struct ShardHeader {
  uint64_t tokenizer = 0;   // TokenizerFingerprint
  uint64_t vocab_size = 0;  // ids are below it
  uint64_t key = 0;         // of the source file and the options, see cache_key.h
  bool operator==(const ShardHeader&) const = default;

  // Ids of small vocabularies take two bytes.
  int token_bytes() const { return vocab_size <= 65536 ? 2 : 4; }
};

struct ShardDocument {
  uint64_t end = 0;   // position behind its last token
  uint64_t hash = 0;  // of its text
};

class ShardWriter {
 public:
  ShardWriter(const std::string& path, const ShardHeader& header);
  // Ids must be below the vocabulary's size.
  void Add(std::span<const int32_t> tokens, uint64_t hash);
  // Without it nothing is left on disk.
  void Commit();
  uint64_t tokens() const { return tokens_; }
  uint64_t documents() const { return documents_; }

 private:
  ShardHeader header_;
  AtomicFile token_file_, document_file_;
  uint64_t tokens_ = 0, documents_ = 0;
};

class Shard {
 public:
  static bool Exists(const std::string& path);
  // Throws naming file and field for anything that is no shard with this header.
  Shard(const std::string& path, const ShardHeader& expected);

  int64_t tokens() const { return tokens_; }
  std::span<const ShardDocument> documents() const { return documents_; }
  // The tokens from `position` on. Throws for an id outside the vocabulary.
  void Read(int64_t position, std::span<int32_t> out) const;

 private:
  ShardHeader header_;
  std::shared_ptr<const MappedFile> token_file_, document_file_;
  std::span<const ShardDocument> documents_;
  int64_t tokens_ = 0;
};

}  // namespace rondo
