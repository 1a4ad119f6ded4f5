// The files beside tokenizer.json: tokenizer_config.json, special_tokens_map.json,
// generation_config.json, chat_template.jinja.
#pragma once

#include <string>

#include "text/tokenizer_spec.h"

namespace rondo {

// Completes `spec` by what the files in `directory` say, as transformers does: flags of added
// tokens, BOS, EOS, UNK, PAD, whether BOS and EOS are added, chat template.
void ReadTokenizerConfig(const std::string& directory, TokenizerSpec& spec);

// tokenizer_config.json for a synthesised tokenizer.json.
std::string WriteTokenizerConfig(const TokenizerSpec& spec);

}  // namespace rondo
