// Forward and backward passes of what lies between the matrix products of a training step: norms,
// activations, rotary embedding, the optimiser. All f32, on ranges of rows so that the caller
// decides about threads; results do not depend on how rows are divided, except sums over rows
// (gradients of gains), which are added to by every call.
#pragma once

#include <cstdint>

#include "rondo/model_config.h"

namespace rondo {

// y[rows, width] = x · rstd ⊙ gain with rstd[rows] = 1 / sqrt(mean(x²) + eps). `gain` may be null.
void RmsNormForward(const float* x, int64_t rows, int64_t width, const float* gain, float eps,
                    float* y, float* rstd);
// dx[rows, width] of dy; adds to dgain[width]. `gain` and `dgain` may be null.
void RmsNormBackward(const float* dy, const float* x, const float* rstd, const float* gain,
                     int64_t rows, int64_t width, float* dx, float* dgain);

// y[rows, width] = act(gate) ⊙ up, with x[rows, 2 · width] = gate | up when `gated`; otherwise
// act(x), x[rows, width].
void ActivationForward(Activation kind, bool gated, const float* x, int64_t rows, int64_t width,
                       float* y);
// dx, shaped as x.
void ActivationBackward(Activation kind, bool gated, const float* x, const float* dy, int64_t rows,
                        int64_t width, float* dx);

// y[i] = x[i] / (1 - rate), or 0 for a share `rate` of the elements, which follows from `seed` and
// their numbers first, first + 1, … alone.
void Dropout(const float* x, int64_t count, uint64_t seed, int64_t first, float rate, float* y);

// One head of one position: out = in with elements i and i + rotary_dim/2 turned by `angles`
// (cosines, then sines), or by their opposite when `inverse`. May work in place.
void TurnHead(const float* in, int head_dim, int rotary_dim, const float* angles, bool inverse,
              float* out);

struct AdamStep {
  float lr, beta1, beta2, eps, weight_decay;
  float grad_scale;                // clipping and averaging
  float correction1, correction2;  // 1 − betaⁿ
};

// Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
void AdamW(const AdamStep& step, int64_t count, const float* grad, float* m, float* v,
           float* weight);
// average = decay · average + (1 − decay) · value.
void MovingAverage(float decay, int64_t count, const float* value, float* average);
// Σ x², summed in blocks and the blocks in double; NaN and infinity come through.
double SumOfSquares(const float* x, int64_t count);

}  // namespace rondo
