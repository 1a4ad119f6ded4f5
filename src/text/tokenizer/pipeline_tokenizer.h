// The tokenizer that runs a TokenizerSpec.
#pragma once

#include <memory>

#include "rondo/tokenizer.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// Checks `spec` (CheckSpec) and prepares it for use.
std::shared_ptr<const Tokenizer> MakeTokenizer(TokenizerSpec spec);

}  // namespace rondo
