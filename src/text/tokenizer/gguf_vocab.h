// Vocabularies inside GGUF files (metadata tokenizer.ggml.*).
#pragma once

#include <cstdint>
#include <string>

#include "formats/gguf.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Byte-level BPE ("gpt2") and SentencePiece ("llama") vocabularies. Throws naming the key.
TokenizerSpec ReadGgufVocab(const GgufFile& file);

// Writes the tokenizer of the model at `model_path` as tokenizer.ggml.* and
// tokenizer.chat_template. A vocabulary smaller than `vocab_size` (rows of the embedding) is filled
// up with unused tokens. Does nothing when the model has no tokenizer; throws if GGUF cannot
// express it.
void SetGgufTokenizer(const std::string& model_path, GgufWriter& writer, int32_t vocab_size = 0);

}  // namespace rondo
