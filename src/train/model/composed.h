// What fused.h and row_kernels.h compute in sweeps over the CPU's memory, composed of LibTorch's
// own operations: for tensors that live on another device.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/grad/vocab_loss.h"
#include "train/model/fused.h"
#include "train/model/torch.h"

namespace rondo {

struct AttentionOptions;
struct TopTokens;

at::Tensor ComposedRmsNorm(const at::Tensor& x, const at::Tensor& gain, double eps);
at::Tensor ComposedActivation(const at::Tensor& x, Activation kind, bool gated);
Heads ComposedSplitHeads(const at::Tensor& qkv, const at::Tensor& angles, const HeadShape& shape);
at::Tensor ComposedAttention(const Heads& heads, const at::Tensor& ranges,
                             const AttentionOptions& options);

// Sums over the rows of a chunk of logits.
struct ChunkLoss {
  double ce = 0, kd = 0;
  int64_t correct = 0;
};

// What a teacher gives for a chunk: raw or capped logits [rows, vocab], or the most probable tokens
// from row `begin` on; neither when nothing is learnt from one.
struct ChunkTeacher {
  at::Tensor logits;
  const TopTokens* top = nullptr;
  int64_t begin = 0;
};

// Divergence of each row [rows], as `loss` has it, from log-probabilities [rows, vocab] of student
// and teacher at its temperature; not yet scaled by that one's square.
at::Tensor RowDivergence(const VocabLoss& loss, const at::Tensor& log_s, const at::Tensor& log_t);

// Replaces raw logits z[rows, vocab] by `scale` times the gradient of the loss.
ChunkLoss ComposedVocabLoss(const VocabLoss& loss, at::Tensor& z, const ChunkTeacher& teacher,
                            std::span<const int32_t> targets, float scale);
// Σ of the cross-entropies of raw logits z[rows, vocab]; negative targets have none.
double ComposedCrossEntropy(const at::Tensor& z, std::span<const int32_t> targets, float softcap);

// The values on the device of `like`, as 64-bit numbers.
at::Tensor IdsOn(const at::Tensor& like, std::span<const int32_t> ids);

}  // namespace rondo
