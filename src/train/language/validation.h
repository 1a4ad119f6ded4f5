// Perplexity of a model in training, on the windows that `rondo eval` uses.
#pragma once

#include <cstdint>
#include <span>

#include "rondo/eval.h"
#include "train/model/teacher.h"

namespace rondo {

PerplexityResult MeasurePerplexity(const Teacher& model, std::span<const int32_t> tokens,
                                   const WindowOptions& options);

}  // namespace rondo
