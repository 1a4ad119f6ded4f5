// How GGUF and llama2.c store what concerns rotary embeddings: the order of q and k rows, and the
// frequency factors of Llama 3.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "rondo/model_config.h"
#include "rondo/tensor.h"

namespace rondo {

// Meta's order pairs rows 2i and 2i+1 of a head, Hugging Face's pairs i and i + head_dim/2.
// ToHalfSplit()[r] is the row of Meta's order that belongs at row r; ToInterleaved() the inverse.
std::vector<int64_t> ToHalfSplit(int heads, int head_dim);
std::vector<int64_t> ToInterleaved(int heads, int head_dim);

// Reorders the rows of a matrix, or the elements of an f32 vector.
Tensor Reorder(const Tensor& tensor, std::span<const int64_t> order);

// The divisors of the rotary frequencies under Llama 3 scaling, [rotary_dim / 2]: 1 for short
// wavelengths, `factor` for long ones, a smooth blend between.
std::vector<float> Llama3Factors(const RopeScaling& scaling, int rotary_dim, float theta);

// What YaRN multiplies cosines and sines with unless a file says otherwise.
float YarnAttentionFactor(float factor);

// The scaling whose factors these are; nothing if they do not follow Llama 3's formula. The factors
// alone leave the unit of original_max_positions open: it is `original_max_positions` where the
// file says it (not 0), otherwise that of Llama 3 or the one for which low_freq_factor is 1.
std::optional<RopeScaling> RecoverLlama3(std::span<const float> factors, int rotary_dim,
                                         float theta, int original_max_positions);

}  // namespace rondo
