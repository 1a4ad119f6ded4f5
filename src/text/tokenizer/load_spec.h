// Finds and reads the tokenizer of a model.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// The file that decides: tokenizer.json, tokenizer.model, vocab.json, a GGUF file, a tok*.bin. ""
// if the model at `model_path` has none; throws if there is nothing at that path.
std::string FindTokenizerFile(const std::string& model_path);

// Says that what is written has no tokenizer either.
void NoteMissingTokenizer(const std::string& model_path);

// Reads such a file together with its companions.
TokenizerSpec LoadTokenizerSpec(const std::string& tokenizer_file);

}  // namespace rondo
