// The ModelConfig of a GGUF model from its metadata and the tensors it has.
#pragma once

#include "formats/gguf.h"
#include "hub/gguf_arch.h"
#include "rondo/model_config.h"

namespace rondo {

// Throws naming file and key when something is missing, makes no sense, or would change the result
// without being understood here.
ModelConfig ConfigFromGguf(const GgufFile& file, const GgufArch& arch);

}  // namespace rondo
