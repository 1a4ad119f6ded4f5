// Models with a sharing plan in one GGUF file (general.architecture "rondo"); the layout is
// described in docs/model-format.md.
#pragma once

#include <string_view>

#include "formats/gguf.h"
#include "rondo/model.h"

namespace rondo {

inline constexpr std::string_view kNativeGgufArch = "rondo";

// Reads configuration, plan and, with LoadParts::kAll, the tensors: matrices in the type they have,
// vectors as f32. Throws rondo::Error naming file and key or tensor.
Model LoadNativeGguf(const GgufFile& file, LoadParts parts);

}  // namespace rondo
