// Differentiable operations between the matrix products, each one sweep forward and one backward.
#pragma once

#include <functional>
#include <vector>

#include "rondo/model_config.h"
#include "train/model/torch.h"

namespace rondo {

// Calls range(part, begin, end) for one contiguous range a thread; the division depends on rows and
// the number of threads only.
void ForParts(int64_t rows, const std::function<void(int part, int64_t begin, int64_t end)>& range);

// LibTorch's custom functions take no undefined tensors: an empty one stands for what is not there.
inline at::Tensor OrEmpty(const at::Tensor& tensor) {
  return tensor.defined() ? tensor : at::empty({0});
}
inline bool IsGiven(const at::Tensor& tensor) { return tensor.numel() > 0; }

// x[rows, width] normed; `gain` may be undefined.
at::Tensor RmsNormOp(const at::Tensor& x, const at::Tensor& gain, double eps);

// act(gate) ⊙ up of x = gate | up [rows, 2 · width], or act(x).
at::Tensor ActivationOp(const at::Tensor& x, Activation kind, bool gated);

// x with a share `rate` of its elements zero and the others divided by 1 - rate, drawn from
// LibTorch's generator; x itself where the rate is 0.
at::Tensor DropoutOp(const at::Tensor& x, double rate);

struct HeadShape {
  int64_t rows, length;  // sequences of a batch and their tokens
  int heads, kv_heads, head_dim, rotary_dim;
};

struct Heads {
  at::Tensor q, k,
      v;  // [rows, heads, length, head_dim]; keys and values repeated for every query head
};

// Splits qkv[rows · length, (heads + 2 kv_heads) head_dim] and turns queries and keys by
// angles[length, rotary_dim] (cosines, then sines); undefined angles turn nothing.
Heads SplitHeads(const at::Tensor& qkv, const at::Tensor& angles, const HeadShape& shape);

}  // namespace rondo
