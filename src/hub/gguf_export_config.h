// The metadata of a model as llama.cpp reads it.
#pragma once

#include "formats/gguf.h"
#include "hub/gguf_arch.h"
#include "rondo/model_config.h"

namespace rondo {

// Throws naming the first field that models of `arch` cannot have in llama.cpp.
void CheckGgufCanExpress(const ModelConfig& config, const GgufArch& arch);

// Sets `<arch>.*`, except what concerns the tokenizer.
void SetGgufConfig(const ModelConfig& config, const GgufArch& arch, GgufWriter* writer);

}  // namespace rondo
