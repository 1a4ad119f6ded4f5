// SentencePiece vocabularies: tokenizer.model files (Kudo and Richardson 2018) and what such a
// vocabulary means as a TokenizerSpec.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

struct SentencePieceOptions {
  bool add_dummy_prefix = true;           // text starts with a space
  bool remove_extra_whitespaces = false;  // runs of spaces become one, none at the ends
  bool add_bos = true;
  bool add_eos = false;
};

// Reads the protobuf; BPE and Unigram without a character map, others are refused by name.
TokenizerSpec ReadSentencePieceModel(const std::string& file);

// Completes a spec whose model has tokens, scores and types: normalizer, decoder, special tokens,
// frame. Uses spec.bos and spec.eos.
void FinishSentencePiece(const SentencePieceOptions& options, TokenizerSpec& spec);

}  // namespace rondo
