// Nested feed-forward widths (MatFormer, Devvrit et al. 2024): the first h of the d_ff channels are
// a feed-forward of their own.
//
//   Model half = CutFfn(model, 0.5);      // y = down[:, :h] (act(gate[:h] x) ⊙ up[:h] x)
//
// Training with a stage's `widths` makes them good; CutFfn makes an ordinary smaller model of them.
// Any number of threads may call the functions at once.
#pragma once

#include "rondo/model.h"

namespace rondo {

// Channels that a share of the feed-forward has: share · d_ff, rounded, at least 1. Throws unless
// the share is above 0 and at most 1.
int FfnWidth(const ModelConfig& config, double share);

// `model` with the first FfnWidth(config, share) channels of every feed-forward, its plan as it
// was; tensors that change become f32. Throws where a slice of the residual is none: Kronecker on
// any of gate, up and down, DoRA on down (its rows are normed as a whole), a rank above the new
// width. Unrolled models always work.
Model CutFfn(const Model& model, double share);

}  // namespace rondo
