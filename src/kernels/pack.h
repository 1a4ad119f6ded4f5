// From GGUF's quantised blocks to panels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rondo/tensor.h"

namespace rondo {

// Writes one row's blocks of a quantised type into lane `lane` of its zeroed panel (quant_panel.h).
void PackBlockRow(DType type, const std::byte* blocks, int64_t in, int lane, uint8_t* panel);

}  // namespace rondo
