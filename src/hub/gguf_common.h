// What the two kinds of GGUF files that rondo writes have in common: those of llama.cpp's
// architectures and its own.
#pragma once

#include "base/file.h"
#include "formats/gguf.h"
#include "rondo/export.h"

namespace rondo {

// Sets general.* and tokenizer.*: architecture, name, type of the bulk of the tensors, vocabulary,
// chat template and the special tokens of the configuration.
void SetGgufGeneral(const Model& model, const std::string& architecture, const TensorTypes& types,
                    GgufWriter* writer);

// Refuses a file that must not be written: an input (rules.inputs), or one that exists and was not
// written by rondo, unless rules.force.
void CheckGgufTarget(const std::string& file, const OutputRules& rules);

}  // namespace rondo
