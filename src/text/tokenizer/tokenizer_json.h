// tokenizer.json of the Hugging Face `tokenizers` library, and GPT-2's vocab.json + merges.txt.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Reads a BPE tokenizer; special tokens and chat template are in other files (tokenizer_config.h).
TokenizerSpec ReadTokenizerJson(const std::string& file);
// GPT-2's two files: its pre-tokenizer, no added tokens.
TokenizerSpec ReadVocabAndMerges(const std::string& vocab_file, const std::string& merges_file);

// The same structure as text; ReadTokenizerJson reads it back. A vocabulary with scores is written
// with the merges that the scores imply.
std::string WriteTokenizerJson(const TokenizerSpec& spec);

}  // namespace rondo
