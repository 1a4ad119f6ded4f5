// The transducer's loss (Graves 2012): −log of the probability of all ways through a grid of
// positions and units.
#pragma once

#include <cstdint>
#include <span>

#include "train/model/torch.h"

namespace rondo {

// Losses [rows] of log-probabilities blank[rows, positions, units + 1] of going on to the next
// position after u units, and label[rows, positions, units] of writing unit u; f32. The last
// position of a row is left by a blank. Differentiable by both.
at::Tensor TransducerLoss(const at::Tensor& blank, const at::Tensor& label,
                          std::span<const int64_t> positions, std::span<const int64_t> units);

}  // namespace rondo
