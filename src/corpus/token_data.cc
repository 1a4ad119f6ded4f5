#include "corpus/token_data.h"

#include <algorithm>
#include <string>

#include "base/hash.h"
#include "corpus/data_names.h"
#include "corpus/shard_set.h"
#include "rondo/error.h"

namespace rondo {

std::string_view Name(DocumentUnit unit) { return ChoiceName(unit); }
DocumentUnit DocumentUnitFromName(std::string_view name) {
  return ChoiceFromName<DocumentUnit>(name, "DocumentUnitFromName");
}

TokenDataBuilder::TokenDataBuilder(std::shared_ptr<const ShardSet> shards)
    : data_(std::make_shared<TokenData>()) {
  data_->fingerprint_ = shards->header.tokenizer;
  data_->shards_ = std::move(shards);
}

void TokenDataBuilder::Add(int64_t document, int64_t tokens, uint64_t hash) {
  data_->documents_.push_back(document);
  data_->ends_.push_back(data_->tokens() + tokens);
  data_->fingerprint_ =
      CombineHash(CombineHash(data_->fingerprint_, hash), static_cast<uint64_t>(tokens));
}

int32_t TokenData::vocab_size() const { return static_cast<int32_t>(shards_->header.vocab_size); }

int64_t TokenData::DocumentAt(int64_t position) const {
  return std::upper_bound(ends_.begin(), ends_.end(), position) - ends_.begin();
}

void TokenData::Read(int64_t position, std::span<int32_t> out) const {
  if (position < 0 || position > tokens() || std::ssize(out) > tokens() - position) {
    throw Error({.function = "TokenData::Read",
                 .problem = std::to_string(out.size()) + " tokens from position " +
                            std::to_string(position),
                 .expected = "at most " + std::to_string(tokens()) + " in all"});
  }
  for (int64_t document = DocumentAt(position); !out.empty(); ++document) {
    const int64_t count = std::min(std::ssize(out), DocumentEnd(document) - position);
    const auto [shard, index] = shards_->Find(documents_[static_cast<size_t>(document)]);
    const int64_t from_end = DocumentEnd(document) - position;
    shard->Read(static_cast<int64_t>(shard->documents()[index].end) - from_end,
                out.first(static_cast<size_t>(count)));
    out = out.subspan(static_cast<size_t>(count));
    position += count;
  }
}

std::vector<int32_t> TokenData::Tokens(int64_t count) const {
  const int64_t size = count > 0 ? std::min(count, tokens()) : tokens();
  std::vector<int32_t> out(static_cast<size_t>(size));
  Read(0, out);
  return out;
}

}  // namespace rondo
