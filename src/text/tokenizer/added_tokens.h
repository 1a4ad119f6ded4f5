// Finds added tokens ("<|im_start|>") in text, leftmost and longest first.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/prefix_trie.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

class AddedTokens {
 public:
  // A stretch of text between tokens (id -1) or a token.
  struct Piece {
    int32_t id = -1;
    std::string_view text;
  };

  // Tokens with `normalized` are looked for as the normaliser leaves their content.
  AddedTokens(const std::vector<AddedToken>& tokens, const Normalizer& normalizer);

  // Cuts raw text at the tokens that are found in raw text, or normalised text at the others.
  // Without `parse_special`, special tokens are left as text.
  std::vector<Piece> SplitRaw(std::string_view text, bool parse_special) const {
    return Split(raw_, text, parse_special);
  }
  std::vector<Piece> SplitNormalized(std::string_view text, bool parse_special) const {
    return Split(normalized_, text, parse_special);
  }

 private:
  std::vector<Piece> Split(const PrefixTrie& trie, std::string_view text, bool parse_special) const;

  std::vector<AddedToken> tokens_;
  PrefixTrie raw_;  // content -> index in tokens_
  PrefixTrie normalized_;
};

}  // namespace rondo
