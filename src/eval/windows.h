// The windows of a strided evaluation.
#pragma once

#include <cstdint>
#include <vector>

#include "rondo/eval.h"

namespace rondo {

struct Window {
  int64_t begin;   // first token of the window
  int64_t end;     // one past the last
  int64_t scored;  // the last `scored` tokens of the window count
};

// Throws if the options make no sense for so many tokens and such a model.
std::vector<Window> MakeWindows(int64_t tokens, const WindowOptions& options,
                                const ModelConfig& config);

}  // namespace rondo
