// The names that GGUF files have for pre-tokenizers of byte-level BPE vocabularies
// (tokenizer.ggml.pre), and the tokenizer.json components that they stand for.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Sets normalizer, pre-tokenizer and ignore_merges; throws naming an unknown `pre`.
void ApplyGgufPre(const std::string& pre, TokenizerSpec& spec);
// Whether a vocabulary of this kind adds BOS when the file does not say.
bool GgufPreAddsBos(const std::string& pre);
// The name for the spec's components; throws if GGUF has none.
std::string GgufPreName(const TokenizerSpec& spec);

}  // namespace rondo
