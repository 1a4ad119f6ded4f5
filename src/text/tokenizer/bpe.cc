#include "text/tokenizer/bpe.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "text/tokenizer/byte_level.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

constexpr std::string_view kSpaceMark = kMetaspace;

// Whether the text can become this token by merging; the others are reached by name only.
bool IsMergeable(const TokenModel& model, size_t id) {
  if (model.tokens[id].empty()) return false;
  if (!model.UsesScores()) return true;
  return model.types[id] == TokenType::kNormal || model.types[id] == TokenType::kUserDefined;
}

char32_t CharacterBefore(std::string_view text, size_t position) {
  size_t begin = position - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return NextUtf8(text, begin).code;
}

}  // namespace

Bpe::Bpe(const TokenModel& model, bool byte_level)
    : model_(model), byte_level_(byte_level), by_text_(model.tokens.size()) {
  IndexTokens();
  IndexMerges();
}

std::unique_ptr<WordEncoder> Bpe::Start(std::vector<int32_t>& out, size_t text_bytes) const {
  return std::make_unique<BpeSession>(*this, out, text_bytes);
}

void Bpe::IndexTokens() {
  byte_ids_.fill(-1);
  const bool raw_lookup = byte_level_ && model_.ignore_merges;
  if (raw_lookup) raw_.resize(model_.tokens.size());
  for (size_t i = 0; i < model_.tokens.size(); ++i) {
    const std::string& token = model_.tokens[i];
    const auto id = static_cast<int32_t>(i);
    const auto byte = ParseByteToken(token);
    if (byte && !byte_level_ && token == ByteTokenName(*byte)) byte_ids_[*byte] = id;
    if (!IsMergeable(model_, i)) continue;
    by_text_.Insert(token, id);
    if (model_.UsesScores() && model_.types[i] == TokenType::kUserDefined) {
      frozen_.Insert(token, id);
    }
    for (size_t hit = token.find(kSpaceMark, 1); hit != std::string::npos;
         hit = token.find(kSpaceMark, hit + 1)) {
      before_metaspace_.insert(CharacterBefore(token, hit));
    }
    if (!raw_lookup) continue;
    if (auto raw = FromByteLevel(token)) {
      raw_[i] = std::move(*raw);
      by_raw_.Insert(raw_[i], id);
    }
  }
  marks_words_ = !model_.subword_prefix.empty() || !model_.word_suffix.empty();
  may_cut_ = !byte_level_ && !marks_words_ && by_text_.Find(kSpaceMark) >= 0;
  if (!byte_level_) return;
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = by_text_.Find(ByteLevelChar(static_cast<unsigned char>(byte)));
  }
}

void Bpe::IndexMerges() {
  merges_ = PairToMerge(model_.merges.size());
  for (size_t rank = 0; rank < model_.merges.size(); ++rank) {
    const Merge& merge = model_.merges[rank];
    merges_.Insert(merge.left, merge.right, {static_cast<int32_t>(rank), merge.result});
  }
  if (!model_.UsesScores()) return;
  std::vector<int32_t> order(model_.scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [this](int32_t a, int32_t b) { return model_.scores[a] > model_.scores[b]; });
  score_rank_.resize(order.size());
  int32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && model_.scores[order[i]] != model_.scores[order[i - 1]]) ++rank;
    score_rank_[order[i]] = rank;
  }
}

RankedMerge Bpe::FindMerge(std::string_view word, const Symbol& left, const Symbol& right) const {
  if (!model_.UsesScores()) {
    return left.id < 0 || right.id < 0 ? RankedMerge{} : merges_.Find(left.id, right.id);
  }
  if (left.frozen || right.frozen) return {};
  const int32_t id = by_text_.Find(word.substr(left.begin, left.length + right.length));
  return id < 0 ? RankedMerge{} : RankedMerge{score_rank_[id], id};
}

bool Bpe::HasAllBytes(std::string_view bytes) const {
  return std::all_of(bytes.begin(), bytes.end(), [this](char byte) {
    return byte_ids_[static_cast<unsigned char>(byte)] >= 0;
  });
}

void Bpe::StartWord(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.clear();
  for (uint32_t i = 0; i < word.size();) {
    Symbol symbol{-1, i, 1, false};
    if (byte_level_) {
      symbol.id = byte_ids_[static_cast<unsigned char>(word[i])];
    } else if (const auto match = frozen_.LongestAt(word, i); match.value >= 0) {
      symbol = {match.value, i, static_cast<uint32_t>(match.length), true};
    } else {
      symbol.length = static_cast<uint32_t>(Utf8Length(word[i]));
      symbol.id = marks_words_ ? FindMarked(word, i, symbol.length)
                               : by_text_.Find(word.substr(i, symbol.length));
    }
    i += symbol.length;
    if (symbol.id >= 0 || model_.UsesScores()) {
      symbols.push_back(symbol);
    } else {
      StartUnknown(word, symbol, symbols);
    }
  }
}

int32_t Bpe::FindMarked(std::string_view word, size_t begin, size_t length) const {
  std::string text = begin == 0 ? std::string() : model_.subword_prefix;
  text += word.substr(begin, length);
  if (begin + length == word.size()) text += model_.word_suffix;
  return by_text_.Find(text);
}

// A character outside a vocabulary with merges: its bytes, or the unknown token, or nothing at all,
// before any merging, as `tokenizers` does.
void Bpe::StartUnknown(std::string_view word, Symbol character,
                       std::vector<Symbol>& symbols) const {
  const std::string_view text = word.substr(character.begin, character.length);
  if (model_.byte_fallback && !byte_level_ && HasAllBytes(text)) {
    for (uint32_t i = 0; i < text.size(); ++i) {
      symbols.push_back({byte_ids_[static_cast<unsigned char>(text[i])], character.begin + i, 1});
    }
    return;
  }
  if (model_.unknown < 0) return;
  if (model_.fuse_unknown && !symbols.empty() && symbols.back().frozen) return;
  // `frozen` marks a fused unknown run here; merges never name the unknown token's run.
  symbols.push_back({model_.unknown, character.begin, character.length, true});
}

void Bpe::Emit(std::string_view word, const Symbol& symbol, std::vector<int32_t>& out) const {
  if (symbol.id >= 0) {
    out.push_back(symbol.id);
    return;
  }
  const std::string_view text = word.substr(symbol.begin, symbol.length);
  if (model_.byte_fallback && HasAllBytes(text)) {
    for (const char byte : text) out.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  } else if (model_.unknown >= 0 && !(model_.fuse_unknown && !out.empty() &&
                                      out.back() == model_.unknown && symbol.begin > 0)) {
    out.push_back(model_.unknown);
  }
}

bool Bpe::IsSafeCut(std::string_view text, size_t position) const {
  return !before_metaspace_.contains(CharacterBefore(text, position));
}

BpeSession::BpeSession(const Bpe& bpe, std::vector<int32_t>& out, size_t text_bytes)
    : bpe_(bpe), out_(out) {
  constexpr size_t kWorthCaching = 2048;  // bytes of text
  constexpr size_t kWords = 1 << 13;      // both tables together fit an L2 cache
  constexpr size_t kPairs = 1 << 14;
  if (text_bytes < kWorthCaching) return;
  cache_.resize(kWords);
  known_pairs_.resize(kPairs);
}

// The tables of a large vocabulary do not fit any near cache; frequent pairs do.
RankedMerge BpeSession::FindMerge(std::string_view word, const Bpe::Symbol& left,
                                  const Bpe::Symbol& right) {
  if (known_pairs_.empty() || left.id < 0 || right.id < 0 || left.frozen || right.frozen) {
    return bpe_.FindMerge(word, left, right);
  }
  const uint64_t key =
      uint64_t{static_cast<uint32_t>(left.id)} << 32 | static_cast<uint32_t>(right.id);
  KnownPair& slot = known_pairs_[MixHash(key) & (known_pairs_.size() - 1)];
  if (slot.key != key) slot = {key, bpe_.FindMerge(word, left, right)};
  return slot.merge;
}

void BpeSession::ForgetWords() { ++generation_; }

// Text of a SentencePiece vocabulary is cut at spaces where no token can reach across; the pieces
// are merged on their own with the same result.
void BpeSession::Encode(std::string_view word) {
  if (!bpe_.may_cut_) {
    EncodePiece(word);
    return;
  }
  size_t begin = 0;
  for (size_t cut = word.find(kSpaceMark, 1); cut != std::string_view::npos;
       cut = word.find(kSpaceMark, cut + 1)) {
    if (!bpe_.IsSafeCut(word, cut)) continue;
    EncodePiece(word.substr(begin, cut - begin));
    begin = cut;
  }
  EncodePiece(word.substr(begin));
}

void BpeSession::EncodePiece(std::string_view word) {
  constexpr size_t kLongestCached = 48;
  if (cache_.empty() || word.size() > kLongestCached) {
    EncodeUncached(word);
    return;
  }
  CachedWord& slot = cache_[HashText(word) & (cache_.size() - 1)];
  if (slot.generation == generation_ && slot.word == word) {
    const size_t end = out_.size();
    out_.resize(end + slot.count);
    std::copy_n(out_.begin() + slot.first, slot.count, out_.begin() + end);
    return;
  }
  const size_t first = out_.size();
  EncodeUncached(word);
  slot = {word, generation_, static_cast<uint32_t>(out_.size() - first), first};
}

void BpeSession::EncodeUncached(std::string_view word) {
  if (word.empty()) return;
  if (bpe_.model_.ignore_merges) {
    const int32_t id = bpe_.byte_level_ ? bpe_.by_raw_.Find(word) : bpe_.by_text_.Find(word);
    if (id >= 0) {
      out_.push_back(id);
      return;
    }
  }
  bpe_.StartWord(word, symbols_);
  constexpr size_t kShort = 48;
  if (symbols_.size() <= kShort) {
    MergeShort(word);
  } else {
    MergeLong(word);
  }
}

void BpeSession::MergeShort(std::string_view word) {
  size_t count = symbols_.size();
  pairs_.assign(count, {});
  for (size_t i = 0; i + 1 < count; ++i) {
    pairs_[i] = FindMerge(word, symbols_[i], symbols_[i + 1]);
  }
  while (count > 1) {
    size_t best = 0;
    uint32_t best_rank = ~uint32_t{0};  // rank -1 becomes the worst
    for (size_t i = 0; i + 1 < count; ++i) {
      if (static_cast<uint32_t>(pairs_[i].rank) < best_rank) {
        best = i;
        best_rank = static_cast<uint32_t>(pairs_[i].rank);
      }
    }
    if (best_rank == ~uint32_t{0}) break;
    symbols_[best].id = pairs_[best].result;
    symbols_[best].length += symbols_[best + 1].length;
    symbols_.erase(symbols_.begin() + best + 1);
    pairs_.erase(pairs_.begin() + best);
    --count;
    pairs_[best] =
        best + 1 < count ? FindMerge(word, symbols_[best], symbols_[best + 1]) : RankedMerge{};
    if (best > 0) pairs_[best - 1] = FindMerge(word, symbols_[best - 1], symbols_[best]);
  }
  for (size_t i = 0; i < count; ++i) bpe_.Emit(word, symbols_[i], out_);
}

void BpeSession::PushPair(std::string_view word, int32_t left, int32_t right) {
  pairs_[left] = FindMerge(word, symbols_[left], symbols_[right]);
  if (pairs_[left].rank < 0) return;
  heap_.push_back({pairs_[left].rank, left, pairs_[left].result});
  std::push_heap(heap_.begin(), heap_.end());
}

void BpeSession::MergeLong(std::string_view word) {
  const auto count = static_cast<int32_t>(symbols_.size());
  pairs_.assign(count, {});
  next_.resize(count);
  previous_.resize(count);
  heap_.clear();
  for (int32_t i = 0; i < count; ++i) {
    next_[i] = i + 1 < count ? i + 1 : -1;
    previous_[i] = i - 1;
    if (i + 1 < count) PushPair(word, i, i + 1);
  }
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const HeapEntry top = heap_.back();
    heap_.pop_back();
    const int32_t left = top.position;
    // Outdated: the symbol was swallowed (length 0) or its pair has changed since.
    if (symbols_[left].length == 0 || pairs_[left].rank != top.rank ||
        pairs_[left].result != top.result) {
      continue;
    }
    const int32_t right = next_[left];
    symbols_[left].id = top.result;
    symbols_[left].length += symbols_[right].length;
    symbols_[right].length = 0;
    next_[left] = next_[right];
    pairs_[left] = {};
    if (next_[left] >= 0) {
      previous_[next_[left]] = left;
      PushPair(word, left, next_[left]);
    }
    if (previous_[left] >= 0) PushPair(word, previous_[left], left);
  }
  for (int32_t i = 0; i >= 0; i = next_[i]) bpe_.Emit(word, symbols_[i], out_);
}

}  // namespace rondo
