// Rotary position embedding: elements i and i + rotary_dim/2 of a head turn by position ·
// frequency[i]. Su et al., "RoFormer", 2021; Llama 3 scaling as Meta's and Hugging Face's code
// define it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/model_config.h"

namespace rondo {

// [rotary_dim / 2] radians per position. Local (sliding-window) layers have a theta of their own
// and no scaling.
std::vector<float> RopeFrequencies(const ModelConfig& config, bool local);

// Cosines and sines [positions, frequencies] of the given positions, interleaved rows: all cosines
// of a position, then all its sines.
std::vector<float> RopeAngles(std::span<const int> positions, std::span<const float> frequencies);

// Turns `heads` heads of one position in place; x [heads, head_dim]; `angles` is that position's
// row.
void ApplyRope(float* x, int heads, int head_dim, int rotary_dim, const float* angles);

}  // namespace rondo
