// Byte-pair encoding of words, with either an explicit list of merges (Sennrich et al. 2016) or the
// scores of a SentencePiece vocabulary (Kudo and Richardson 2018, BPE mode).
//
// Cost: a word of n symbols takes O(n²) table steps up to 48 symbols and O(n log n) above, so that
// a megabyte without a word boundary is harmless.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "text/tokenizer/hash_maps.h"
#include "text/tokenizer/prefix_trie.h"
#include "text/tokenizer/tokenizer_spec.h"
#include "text/tokenizer/word_model.h"

namespace rondo {

class Bpe final : public WordModel {
 public:
  Bpe(const TokenModel& model, bool byte_level);  // as MakeWordModel()
  std::unique_ptr<WordEncoder> Start(std::vector<int32_t>& out, size_t text_bytes) const override;

  // Id of a token that text can become by merging, or -1.
  int32_t FindToken(std::string_view token) const { return by_text_.Find(token); }

 private:
  friend class BpeSession;
  struct Symbol {
    int32_t id = -1;  // -1: the text is no token
    uint32_t begin = 0;
    uint32_t length = 0;
    bool frozen = false;  // never merges
  };

  void IndexTokens();
  void IndexMerges();
  RankedMerge FindMerge(std::string_view word, const Symbol& left, const Symbol& right) const;
  void StartWord(std::string_view word, std::vector<Symbol>& symbols) const;
  // The token of a character by its place in the word.
  int32_t FindMarked(std::string_view word, size_t begin, size_t length) const;
  void StartUnknown(std::string_view word, Symbol character, std::vector<Symbol>& symbols) const;
  void Emit(std::string_view word, const Symbol& symbol, std::vector<int32_t>& out) const;
  bool HasAllBytes(std::string_view bytes) const;
  // True if no token spans the border before the metaspace at `position` > 0.
  bool IsSafeCut(std::string_view text, size_t position) const;

  const TokenModel& model_;
  bool byte_level_;
  TextToId by_text_;
  std::vector<std::string> raw_;  // byte-level with ignore_merges: tokens as bytes
  TextToId by_raw_;
  PairToMerge merges_;
  std::vector<int32_t> score_rank_;    // by id; equal scores have equal ranks
  std::array<int32_t, 256> byte_ids_;  // byte-level: initial symbols; otherwise <0xNN> tokens
  PrefixTrie frozen_;                  // user-defined pieces of a scored vocabulary
  bool marks_words_ = false;           // tokens say where in a word they stand
  bool may_cut_ = false;               // the metaspace is a token of its own
  std::unordered_set<char32_t> before_metaspace_;  // characters that precede one inside a token
};

// Remembers where it met a word before.
class BpeSession final : public WordEncoder {
 public:
  BpeSession(const Bpe& bpe, std::vector<int32_t>& out, size_t text_bytes);
  void Encode(std::string_view word) override;
  void ForgetWords() override;

 private:
  struct CachedWord {
    std::string_view word;
    uint32_t generation = 0;
    uint32_t count = 0;
    size_t first = 0;  // index in out_
  };
  struct KnownPair {
    uint64_t key = ~uint64_t{0};  // left id << 32 | right id
    RankedMerge merge;
  };
  struct HeapEntry {
    int32_t rank;
    int32_t position;
    int32_t result;
    bool operator<(const HeapEntry& other) const {  // of a max-heap: the best is the greatest
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };

  RankedMerge FindMerge(std::string_view word, const Bpe::Symbol& left, const Bpe::Symbol& right);
  void EncodePiece(std::string_view word);
  void EncodeUncached(std::string_view word);
  void MergeShort(std::string_view word);
  void MergeLong(std::string_view word);
  void PushPair(std::string_view word, int32_t left, int32_t right);

  const Bpe& bpe_;
  std::vector<int32_t>& out_;
  std::vector<Bpe::Symbol> symbols_;
  std::vector<RankedMerge> pairs_;  // merge of each symbol with its right neighbour
  std::vector<int32_t> next_;
  std::vector<int32_t> previous_;
  std::vector<HeapEntry> heap_;
  std::vector<CachedWord> cache_;
  std::vector<KnownPair> known_pairs_;
  uint32_t generation_ = 1;
};

}  // namespace rondo
