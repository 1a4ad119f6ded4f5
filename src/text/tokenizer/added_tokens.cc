#include "text/tokenizer/added_tokens.h"

#include <algorithm>

#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return IsWordChar(NextUtf8(text, begin).code);
}

bool StartsWithWord(std::string_view text) {
  return !text.empty() && IsWordChar(NextUtf8(text, 0).code);
}

}  // namespace

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const Normalizer& normalizer)
    : tokens_(tokens) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    if (token.normalized && !normalizer.empty()) {
      normalized_.Insert(normalizer.Apply(token.content), static_cast<int32_t>(i));
    } else {
      (token.normalized ? normalized_ : raw_).Insert(token.content, static_cast<int32_t>(i));
    }
  }
}

std::vector<AddedTokens::Piece> AddedTokens::Split(const PrefixTrie& trie, std::string_view text,
                                                   bool parse_special) const {
  std::vector<Piece> pieces;
  size_t done = 0;  // everything before is in `pieces`
  for (size_t at = trie.NextCandidate(text, 0); at < text.size();
       at = trie.NextCandidate(text, at)) {
    const PrefixTrie::Match match = trie.LongestAt(text, at);
    if (match.value < 0) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + match.length;
    at = end;
    const AddedToken& token = tokens_[match.value];
    if (token.special && !parse_special) continue;
    if (token.single_word &&
        (EndsWithWord(text.substr(0, begin)) || StartsWithWord(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(SpaceRunBegin(text, begin), done);
    if (token.rstrip) end = SpaceRunEnd(text, end);
    if (begin > done) pieces.push_back({-1, text.substr(done, begin - done)});
    pieces.push_back({token.id, text.substr(begin, end - begin)});
    done = end;
  }
  if (done < text.size()) pieces.push_back({-1, text.substr(done)});
  return pieces;
}

}  // namespace rondo
