// The files beside tokenizer.json: tokenizer_config.json, special_tokens_map.json,
// added_tokens.json, generation_config.json, chat_template.jinja.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Completes `spec` by what the files in `directory` say, as transformers does: flags of added
// tokens, BOS, EOS, UNK, PAD, chat template, and whether BOS and EOS are added unless the spec
// comes from a tokenizer.json, which has a frame of its own.
void ReadTokenizerConfig(const std::string& directory, bool has_frame, TokenizerSpec& spec);

// Normalizer and pre-tokenizer of a vocab.json, by the class that tokenizer_config.json names.
void ChooseWords(const std::string& directory, TokenizerSpec& spec);

// tokenizer_config.json for a synthesised tokenizer.json, and generation_config.json with its
// tokens.
std::string WriteTokenizerConfig(const TokenizerSpec& spec);
std::string WriteGenerationConfig(const TokenizerSpec& spec);

}  // namespace rondo
