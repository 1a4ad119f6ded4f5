// Operations on single rows: norms and activations. A row's result depends on that row alone.
#pragma once

#include <cstdint>

#include "rondo/model_config.h"

namespace rondo {

// y = x / sqrt(mean(x²) + eps) ⊙ gain. `gain` may be null (ones). x and y may be the same.
void RmsNorm(const float* x, int64_t width, const float* gain, float eps, float* y);

// y = (x − mean) / sqrt(variance + eps) ⊙ gain + bias. `gain` and `bias` may be null (ones, zeros).
void LayerNorm(const float* x, int64_t width, const float* gain, const float* bias, float eps,
               float* y);

// x = act(x), in place.
void Activate(Activation kind, float* x, int64_t count);

// gate = act(gate) ⊙ up, in place.
void ActivateGated(Activation kind, float* gate, const float* up, int64_t count);

// y = a · sigmoid(gate) (gated linear unit: Dauphin et al. 2017). y may be a or gate.
void GateSigmoid(const float* a, const float* gate, int64_t count, float* y);

// a += b, a *= scale, x = cap · tanh(x / cap).
void AddTo(float* a, const float* b, int64_t count);
void Scale(float* a, float scale, int64_t count);
void SoftCap(float* x, float cap, int64_t count);

}  // namespace rondo
