// The kernels written plainly, summed in double: what the fast ones are compared with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "rondo/model_config.h"

namespace rondo::reference {

// y[rows, out] = x[rows, in] · wᵀ for w [out, in].
std::vector<double> MatMul(std::span<const float> w, std::span<const float> x, int64_t rows,
                           int64_t in, int64_t out);

std::vector<double> RmsNorm(std::span<const float> x, std::span<const float> gain, float eps);
std::vector<double> LayerNorm(std::span<const float> x, std::span<const float> gain,
                              std::span<const float> bias, float eps);
double Activate(Activation kind, double x);

double LogSumExp(std::span<const float> x);
// y[rows, width] of x[rows, width] behind history[size − 1, width], with weight[size, width].
std::vector<double> DepthwiseConv(std::span<const float> weight, std::span<const float> bias,
                                  std::span<const float> history, std::span<const float> x);

// One query [heads * head_dim] at `position` over keys and values [positions, kv_heads * head_dim],
// of which the first `prefix` stand before position 0 and are seen by all.
std::vector<double> Attention(const AttentionShape& shape, int position, std::span<const float> q,
                              std::span<const float> keys, std::span<const float> values,
                              int prefix = 0);

}  // namespace rondo::reference
