// Forward and backward passes of what lies between the matrix products of a training step: norms,
// activations, rotary embedding, losses over the vocabulary, the optimiser. All f32, on ranges of
// rows so that the caller decides about threads; results do not depend on how rows are divided,
// except sums over rows (gradients of gains), which are added to by every call.
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

enum class KdKind {
  kForwardKl,
  kReverseKl,
  kJensenShannon,
  kTotalVariation,
  kSymmetricKl,  // half of forward and half of reverse KL, between two passes of a student
};

// Probabilities below this count as zero where their logarithm is taken.
inline constexpr float kTinyProbability = 1e-30f;
// What the tokens outside of a cached top-k have together counts as at least this: the student's
// sum over the vocabulary is no more exact.
inline constexpr double kRestFloor = 1e-6;

struct VocabLoss {
  float ce = 0;  // weight of cross-entropy with the target
  float kd = 0;  // weight of the divergence from the teacher
  KdKind kind = KdKind::kForwardKl;
  float temperature = 1;   // of the divergence, which is scaled by its square
  float js_lambda = 0.5f;  // Jensen-Shannon: share of the teacher in the mixture
  float softcap = 0;       // of the student's logits; 0: none
};

struct VocabLossValue {
  double ce = 0;  // nats
  double kd = 0;
  bool correct = false;  // the student's most likely token is the target
};

// Loss of one position. Replaces the student's raw logits z[vocab] by `scale` times the gradient of
// ce · CE + kd · KD; `teacher` [vocab] (null when kd is 0) is overwritten. `scratch` holds
// 2 · vocab values. A negative target has no cross-entropy.
VocabLossValue VocabLossRow(const VocabLoss& loss, float* z, float* teacher, int64_t vocab,
                            int32_t target, float scale, float* scratch);

// The most probable tokens of a teacher at one position.
struct TopRow {
  int k;
  const int32_t* ids;
  const float* log_p;
};

// The same with a teacher of whom only these tokens are known. The divergence is forward KL at
// temperature 1 over k + 1 outcomes: each of the tokens, and all others together, which is a lower
// bound of the whole one's and its value when k is the vocabulary.
VocabLossValue TopLossRow(const VocabLoss& loss, float* z, const TopRow& teacher, int64_t vocab,
                          int32_t target, float scale, float* scratch);

// Cross-entropy of raw logits alone, without a gradient; z is overwritten.
double CrossEntropyRow(float* z, int64_t vocab, int32_t target, float softcap);

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
