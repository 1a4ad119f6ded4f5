// Losses over the vocabulary with their gradients, one position at a time while its logits are in
// the cache.
//
//   VocabLossValue value = VocabLossRow({.ce = 1}, z, nullptr, vocab, target, 1, scratch);
//   // z now holds the gradient of the loss by the logits
#pragma once

#include <cstdint>

namespace rondo {

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

}  // namespace rondo
