// Vocabulary files of llama2.c (tok*.bin next to a model's .bin): a SentencePiece vocabulary
// without its types and options.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

TokenizerSpec ReadLlama2cVocab(const std::string& file);

// The tok*.bin or tok*.model in the model's folder whose size is the model's; "" if there is none.
std::string FindLlama2cVocab(const std::string& model_file);

}  // namespace rondo
