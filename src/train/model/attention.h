// Attention as a differentiable operation.
#pragma once

#include <cstdint>
#include <span>

#include "train/model/fused.h"
#include "train/model/torch.h"

namespace rondo {

// Keys [begin, end) that each query sees: int32 [rows, queries, 2], or [1, queries, 2] when all
// rows see the same.
at::Tensor CausalRanges(int64_t length, int window);  // at most `window` keys; 0: all before
at::Tensor LengthRanges(std::span<const int64_t> lengths, int64_t queries);  // the first of a row

struct AttentionOptions {
  double scale = 1;
  double softcap = 0;  // scores become softcap · tanh(score / softcap); 0: as they are
  int64_t prefix = 0;  // keys that every query sees; `ranges` count from behind them
  // `ranges` say no more than that queries see what is before them: other devices are faster then.
  bool plain_causal = false;
};

// [rows, heads, queries, head_dim]: softmax(q · kᵀ) · v over the keys in `ranges`, which is on the
// CPU. A query without any gets zeros.
at::Tensor AttentionOp(const Heads& heads, const at::Tensor& ranges,
                       const AttentionOptions& options);

}  // namespace rondo
