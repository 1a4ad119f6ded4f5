// Rotary position embedding: elements i and i + rotary_dim/2 of a head turn by position ·
// frequency[i]. Su et al., "RoFormer", 2021. Scalings as transformers computes them: Llama 3; YaRN
// (Peng et al. 2023); dynamic NTK; LongRoPE (Ding et al. 2024).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "rondo/model_config.h"

namespace rondo {

// [rotary_dim / 2] radians per position in a text of `length` positions, which matters only to
// scalings that depend on it. Local (sliding-window) layers that have a theta of their own have no
// scaling.
std::vector<float> RopeFrequencies(const ModelConfig& config, bool local, int length = 0);

// Cosines and sines [positions, frequencies] of the given positions times `scale`, interleaved
// rows: all cosines of a position, then all its sines.
std::vector<float> RopeAngles(std::span<const int> positions, std::span<const float> frequencies,
                              float scale = 1);

// The rotation of the layers of one kind; a default one turns nothing.
class Rope {
 public:
  Rope() = default;
  Rope(const ModelConfig& config, bool local);

  bool empty() const { return frequencies_.empty(); }
  size_t frequencies() const { return frequencies_.size(); }
  // Rows of RopeAngles for positions[i] in a text of lengths[i] positions.
  std::vector<float> Angles(std::span<const int> positions, std::span<const int> lengths) const;

 private:
  std::vector<float> frequencies_;  // of a text that is not longer than those of pretraining
  float scale_ = 1;
  std::function<std::vector<float>(int length)> of_length_;  // empty: they are always the same
};

// Turns `heads` heads of one position in place; x [heads, head_dim]; `angles` is that position's
// row.
void ApplyRope(float* x, int heads, int head_dim, int rotary_dim, const float* angles);

}  // namespace rondo
