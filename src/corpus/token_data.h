// Training data: documents as packed token shards on disk, and rows of tokens drawn from them.
//
//   CorpusOptions options{.files = {"train.txt.xz"}, .held_out = 0.01};
//   TokenSplit split = OpenCorpus(options, *tokenizer, "cache", pool);    // packs what is missing
//   RowSampler sampler(split.train, {.length = 512, .seed = 7});
//   TokenBatch batch = sampler.Next(8);                                   // [8, 513] token ids
//   SamplerState state = sampler.state();                // two integers, from which a run goes on
//
// TokenData is immutable and memory-mapped; any number of threads may read it. A RowSampler belongs
// to one thread. The format of the shards is described in docs/data.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/tokenizer.h"

namespace rondo {

class ThreadPool;

// What one document of a plain text is. Records of a JSONL file are always one document each.
enum class DocumentUnit {
  kParagraph,  // lines up to the next blank line
  kHeading,    // from one first-level heading "= Title =" (as WikiText has them) to the next
  kLine,       // every line that is not blank
  kFile,       // the whole file
};

// "paragraph", "heading", "line", "file"; an unknown name throws.
DocumentUnit DocumentUnitFromName(std::string_view name);
std::string_view Name(DocumentUnit unit);

struct CorpusOptions {
  // In order. *.jsonl is JSONL and anything else is text, each plain or with .xz or .zst behind.
  std::vector<std::string> files;
  DocumentUnit unit = DocumentUnit::kParagraph;  // of text
  std::string field = "text";                    // of JSONL: the string that is the document
  bool add_special = true;     // what the tokenizer puts around a text (usually BOS, or nothing)
  bool append_eos = true;      // end every document with the tokenizer's first end-of-text token
  bool parse_special = false;  // "<|endoftext|>" inside a document becomes that token
  // Documents kept out of training, chosen by a hash of their text, so that equal documents stay
  // together and nothing depends on their order. At most one of the two is not 0.
  double held_out = 0;             // share of documents, below 1
  int64_t held_out_documents = 0;  // number of documents (more when the last one has duplicates)
  uint64_t held_out_seed = 0;
};

struct ShardSet;  // the mapped shards, shared by both sides of a split

// Documents as tokens.
class TokenData {
 public:
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  int64_t tokens() const { return ends_.empty() ? 0 : ends_.back(); }
  int32_t vocab_size() const;
  // Hash of the tokens and their division into documents; equal for equal data, whatever its path.
  uint64_t fingerprint() const { return fingerprint_; }

  // Documents stand in the order of the files. Token positions count through all of them.
  int64_t DocumentEnd(int64_t document) const { return ends_[static_cast<size_t>(document)]; }
  int64_t DocumentBegin(int64_t document) const {
    return document == 0 ? 0 : DocumentEnd(document - 1);
  }
  // The document that holds a position below tokens().
  int64_t DocumentAt(int64_t position) const;
  // Fills `out` with the tokens from `position` on, over document borders. Throws if there are
  // fewer, or if a shard holds an id outside its vocabulary.
  void Read(int64_t position, std::span<int32_t> out) const;
  // The first `count` tokens; all if `count` is 0 or there are fewer.
  std::vector<int32_t> Tokens(int64_t count = 0) const;

 private:
  friend class TokenDataBuilder;
  std::shared_ptr<const ShardSet> shards_;
  std::vector<int64_t> documents_;  // [documents] index in the shard set
  std::vector<int64_t> ends_;       // [documents] position behind the last token
  uint64_t fingerprint_ = 0;
};

struct TokenSplit {
  std::shared_ptr<const TokenData> train;
  std::shared_ptr<const TokenData> held_out;  // no documents unless asked for
};

// Packs every file that `cache_directory` (created if missing) has no shard for, and maps the
// shards. A shard belongs to a file's size, time and beginning and end, to the tokenizer and to the
// options above that change tokens. Memory stays bounded by the longest document (at most 1 GiB).
// Processes that open the same corpus at once pack it once. Throws rondo::Error naming file and
// line for compressed data that is damaged or cut short, text that is no UTF-8, malformed records,
// missing fields, and files without any document.
TokenSplit OpenCorpus(const CorpusOptions& options, const Tokenizer& tokenizer,
                      const std::string& cache_directory, ThreadPool& pool, bool quiet = true);

// Hashes what a tokenizer does: its vocabulary and how it cuts a probe text. Equal for the same
// tokenizer read from a GGUF file and from tokenizer.json.
uint64_t TokenizerFingerprint(const Tokenizer& tokenizer);

// How rows are cut from documents. A row has length + 1 tokens, so that each but the first is
// predicted once. All rows are full: nothing is ever padded.
enum class RowKind {
  kPacked,          // documents one after another, cut every `length` tokens
  kWithinDocument,  // no row crosses a border; the rest of a document, or a short one, is unused
  kDocumentStart,   // rows begin with a document and go on with the next ones; the last is cut
};

// "packed", "within-document", "document-start"; an unknown name throws.
RowKind RowKindFromName(std::string_view name);
std::string_view Name(RowKind kind);

struct SamplerOptions {
  int length = 512;  // predicted tokens of a row
  RowKind rows = RowKind::kPacked;
  uint64_t seed = 0;
  bool shuffle = true;  // a new order of rows every epoch; false: as they stand
};

struct TokenBatch {
  int rows = 0;
  int length = 0;
  std::vector<int32_t> tokens;    // [rows, length + 1]
  std::vector<int32_t> document;  // [rows, length + 1] 0, 1, …: the document within the row
  std::vector<int64_t> row_ids;   // [rows] which rows of the epoch, for logs and tests

  // Whether a row holds more than one document.
  bool HasBorder(int row) const {
    return document[(static_cast<size_t>(row) + 1) * (static_cast<size_t>(length) + 1) - 1] > 0;
  }
};

struct SamplerState {
  uint64_t next_row = 0;  // rows drawn, counted through all epochs
  uint64_t data = 0;      // fingerprint of data and options it belongs to
  bool operator==(const SamplerState&) const = default;
};

// Draws rows in an order that seed and epoch decide (a Feistel permutation with cycle walking, so
// no list of rows is kept). Within an epoch every row is drawn once, and every token is predicted
// at most once. A batch at the end of an epoch goes on with the next one.
class RowSampler {
 public:
  // Throws when the data has no row of that length, and for lengths that make no sense.
  RowSampler(std::shared_ptr<const TokenData> data, const SamplerOptions& options);

  TokenBatch Next(int rows);
  // The row at an index below rows_per_epoch(), in stored order; leaves the state alone.
  TokenBatch Row(int64_t index) const;

  SamplerState state() const { return {next_row_, data_key_}; }
  // Continues exactly. Throws when the state belongs to other data or options; the batch size may
  // differ.
  void Restore(const SamplerState& state);

  int64_t rows_per_epoch() const { return rows_; }
  // Predicted tokens.
  int64_t tokens_per_epoch() const { return rows_ * options_.length; }
  double epochs_done() const { return static_cast<double>(next_row_) / static_cast<double>(rows_); }

 private:
  int64_t RowBegin(int64_t index) const;
  void FillRow(int64_t index, int row, TokenBatch& batch) const;

  std::shared_ptr<const TokenData> data_;
  SamplerOptions options_;
  int64_t rows_ = 0;
  // kWithinDocument: [documents] rows up to and with this document. kDocumentStart: [rows]
  // position.
  std::vector<int64_t> table_;
  uint64_t next_row_ = 0;
  uint64_t data_key_ = 0;
};

}  // namespace rondo
