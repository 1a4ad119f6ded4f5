#include <algorithm>
#include <string>
#include <utility>

#include "base/hash.h"
#include "corpus/data_names.h"
#include "corpus/permutation.h"
#include "corpus/token_data.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int kMaxLength = 1 << 24;

void CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  throw Error({.function = "RowSampler",
               .problem = std::to_string(value),
               .expected = std::to_string(low) + " to " + std::to_string(high),
               .field = field});
}

// [documents] rows of all documents up to and with this one.
std::vector<int64_t> RowsWithinDocuments(const TokenData& data, int64_t length) {
  std::vector<int64_t> rows;
  int64_t sum = 0;
  for (int64_t i = 0; i < data.documents(); ++i) {
    sum += (data.DocumentEnd(i) - data.DocumentBegin(i) - 1) / length;
    rows.push_back(sum);
  }
  return rows;
}

// [rows] where they begin: at the first document that the row before does not touch.
std::vector<int64_t> DocumentStarts(const TokenData& data, int64_t length) {
  std::vector<int64_t> starts;
  int64_t free = 0;
  for (int64_t i = 0; i < data.documents(); ++i) {
    const int64_t begin = data.DocumentBegin(i);
    if (begin < free) continue;
    if (begin + length + 1 > data.tokens()) break;
    starts.push_back(begin);
    free = begin + length + 1;
  }
  return starts;
}

uint64_t DataKey(const TokenData& data, const SamplerOptions& options) {
  uint64_t key = CombineHash(data.fingerprint(), static_cast<uint64_t>(options.length));
  key = CombineHash(key, static_cast<uint64_t>(options.rows));
  key = CombineHash(key, options.seed);
  return CombineHash(key, options.shuffle ? 1 : 0);
}

TokenBatch EmptyBatch(int rows, int length) {
  CheckRange("rows", rows, 1, (int64_t{1} << 30) / (int64_t{length} + 1));
  const size_t size = static_cast<size_t>(rows) * (static_cast<size_t>(length) + 1);
  return {.rows = rows,
          .length = length,
          .tokens = std::vector<int32_t>(size),
          .document = std::vector<int32_t>(size),
          .row_ids = std::vector<int64_t>(static_cast<size_t>(rows))};
}

}  // namespace

std::string_view Name(RowKind kind) { return ChoiceName(kind); }
RowKind RowKindFromName(std::string_view name) {
  return ChoiceFromName<RowKind>(name, "RowKindFromName");
}

RowSampler::RowSampler(std::shared_ptr<const TokenData> data, const SamplerOptions& options)
    : data_(std::move(data)), options_(options), data_key_(DataKey(*data_, options)) {
  CheckRange("length", options.length, 1, kMaxLength);
  switch (options.rows) {
    case RowKind::kPacked:
      rows_ = std::max<int64_t>(data_->tokens() - 1, 0) / options.length;
      break;
    case RowKind::kWithinDocument:
      table_ = RowsWithinDocuments(*data_, options.length);
      rows_ = table_.empty() ? 0 : table_.back();
      break;
    case RowKind::kDocumentStart:
      table_ = DocumentStarts(*data_, options.length);
      rows_ = std::ssize(table_);
      break;
  }
  if (rows_ == 0) {
    throw Error({.function = "RowSampler",
                 .problem = "no " + std::string(Name(options.rows)) + " row of " +
                            std::to_string(options.length + 1) + " tokens in " +
                            std::to_string(data_->documents()) + " documents of " +
                            std::to_string(data_->tokens()) + " tokens together",
                 .expected = "more text or a smaller length",
                 .field = "length"});
  }
}

int64_t RowSampler::RowBegin(int64_t index) const {
  switch (options_.rows) {
    case RowKind::kPacked:
      return index * options_.length;
    case RowKind::kDocumentStart:
      return table_[static_cast<size_t>(index)];
    case RowKind::kWithinDocument:
      break;
  }
  const int64_t document = std::upper_bound(table_.begin(), table_.end(), index) - table_.begin();
  const int64_t before = document == 0 ? 0 : table_[static_cast<size_t>(document) - 1];
  return data_->DocumentBegin(document) + (index - before) * options_.length;
}

void RowSampler::FillRow(int64_t index, int row, TokenBatch& batch) const {
  const auto size = static_cast<size_t>(options_.length) + 1;
  const auto at = static_cast<size_t>(row) * size;
  const int64_t begin = RowBegin(index);
  data_->Read(begin, std::span(batch.tokens).subspan(at, size));
  int64_t document = data_->DocumentAt(begin);
  const int64_t first = document;
  for (size_t i = 0; i < size; ++i) {
    if (begin + static_cast<int64_t>(i) == data_->DocumentEnd(document)) ++document;
    batch.document[at + i] = static_cast<int32_t>(document - first);
  }
  batch.row_ids[static_cast<size_t>(row)] = index;
}

TokenBatch RowSampler::Row(int64_t index) const {
  CheckRange("row", index, 0, rows_ - 1);
  TokenBatch batch = EmptyBatch(1, options_.length);
  FillRow(index, 0, batch);
  return batch;
}

TokenBatch RowSampler::Next(int rows) {
  TokenBatch batch = EmptyBatch(rows, options_.length);
  const auto size = static_cast<uint64_t>(rows_), count = static_cast<uint64_t>(rows);
  for (int row = 0; row < rows; ++row) {
    const uint64_t number = next_row_ + static_cast<uint64_t>(row);
    uint64_t index = number % size;
    if (options_.shuffle)
      index = Permutation(size, CombineHash(options_.seed, number / size))(index);
    FillRow(static_cast<int64_t>(index), row, batch);
  }
  next_row_ += count;
  return batch;
}

void RowSampler::Restore(const SamplerState& state) {
  if (state.data != data_key_) {
    throw Error({.function = "RowSampler::Restore",
                 .problem = "the state belongs to other data, or to another length, kind of rows, "
                            "seed or tokenizer, or is older than the hash of texts in use",
                 .expected = "the data and options of the run that is resumed"});
  }
  next_row_ = state.next_row;
}

}  // namespace rondo
