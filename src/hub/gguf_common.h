// What the two kinds of GGUF files that rondo writes have in common: those of llama.cpp's
// architectures and its own.
#pragma once

#include "formats/gguf.h"
#include "rondo/export.h"

namespace rondo {

// Sets general.* and tokenizer.*: architecture, name, type of the bulk of the tensors, vocabulary,
// chat template and the special tokens of the configuration.
void SetGgufGeneral(const Model& model, const std::string& architecture, const TensorTypes& types,
                    GgufWriter* writer);

}  // namespace rondo
