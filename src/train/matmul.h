// Matrix products of the training room, all through one door: the fastest library that LibTorch
// brings for the machine at hand.
#pragma once

#include "train/torch.h"

namespace rondo {

// a[m, k] · b[k, n] without gradients; either may be a transposed view.
at::Tensor MatMul(const at::Tensor& a, const at::Tensor& b);

// x[..., in] · weight[out, in]ᵀ + bias[out], differentiable in all three; `bias` may be undefined.
at::Tensor LinearOp(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

}  // namespace rondo
