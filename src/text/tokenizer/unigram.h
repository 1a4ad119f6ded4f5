// Unigram models (Kudo 2018): of all ways to cut a word into tokens, the most probable one.
#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "text/tokenizer/hash_maps.h"
#include "text/tokenizer/prefix_trie.h"
#include "text/tokenizer/word_model.h"

namespace rondo {

// Cost: a word of n bytes takes O(n times the longest token).
class Unigram final : public WordModel {
 public:
  explicit Unigram(const TokenModel& model);
  std::unique_ptr<WordEncoder> Start(std::vector<int32_t>& out, size_t text_bytes) const override;

 private:
  friend class UnigramEncoder;
  const TokenModel& model_;
  PrefixTrie trie_;
  TextToId ids_;
  std::array<int32_t, 256> byte_ids_;
  double unknown_score_ = 0;
};

}  // namespace rondo
