// What kernels/grad/round_blocks.h computes, composed of LibTorch's own operations: for tensors
// that live on another device than the CPU.
#pragma once

#include "kernels/grad/round_blocks.h"
#include "train/model/rounded_tensor.h"

namespace rondo {

void ComposedRound(const RoundFormat& format, const Latents& latents, at::Tensor& rounded);
void ComposedRoundBackward(const RoundFormat& format, const Latents& latents, at::Tensor& grad,
                           at::Tensor& dscale, at::Tensor& doffset);

}  // namespace rondo
