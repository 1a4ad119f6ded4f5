// Matrix products of the training room, all through one door: the fastest library that LibTorch
// brings for the machine at hand. Operands are f32 or bf16 and sums f32; a product of bf16 operands
// is rounded to bf16 once more before it is returned as f32.
#pragma once

#include "train/model/torch.h"

namespace rondo {

// a[m, k] · b[k, n] without gradients, both rounded to `operands`; either may be a transposed view.
at::Tensor MatMul(const at::Tensor& a, const at::Tensor& b, at::ScalarType operands = at::kFloat);

// x[..., in] · weight[out, in]ᵀ + bias[out], differentiable in all three; `bias` may be undefined.
// x and weight are rounded to `operands`, as are those of the gradients' products.
at::Tensor LinearOp(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {},
                    at::ScalarType operands = at::kFloat);

}  // namespace rondo
