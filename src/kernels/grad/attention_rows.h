// Scaled dot-product attention of one head over one sequence, forward and backward: scores exist
// for a few queries at a time, and keys that none of them sees cost nothing. All f32; what a call
// computes depends on its arguments alone.
#pragma once

#include <cstdint>

namespace rondo {

// head_dim values of every position, `stride` floats apart.
struct HeadRows {
  float* data;
  int64_t stride;
};
struct ConstHeadRows {
  const float* data;
  int64_t stride;
};

struct AttentionRows {
  ConstHeadRows q, k, v;
  int64_t queries, keys, head_dim;
  // Every query sees the first `prefix` keys, and of those behind them [ranges[2i], ranges[2i +
  // 1]).
  const int32_t* ranges;
  int64_t prefix = 0;
  float scale = 1;
  float softcap = 0;  // scores become softcap · tanh(score / softcap); 0: as they are
};

// out[queries] = softmax(scores) · v and lse[queries], the logarithm of the softmax's denominator.
// A query that sees nothing gets zeros.
void AttentionForward(const AttentionRows& rows, HeadRows out, float* lse);

// Gradients of the three inputs from the output's and from what the forward pass gave.
void AttentionBackward(const AttentionRows& rows, ConstHeadRows out, const float* lse,
                       ConstHeadRows dout, HeadRows dq, HeadRows dk, HeadRows dv);

}  // namespace rondo
