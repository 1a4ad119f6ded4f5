// A tensor that trains as it will be stored. What is trained is a latent weight (f32) for every
// value, and a scale and maybe an offset for every block of 32; what the forward pass reads is
// rounded (kernels/grad/round_blocks.h). Scales and offsets are parameters beside their tensor:
//
//   blocks.0.q.weight           latent weights [out, in]
//   blocks.0.q.weight@scale     [out, in / 32]
//   blocks.0.q.weight@offset    the same, for types that have them
//
//   Model start = ToLatents(model, types, &file);    // or nearest to the model without a file
//   Params params(start, groups, device, {types});   // does the rest
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "rondo/model.h"
#include "train/model/torch.h"

namespace rondo {

// Types of the rounded tensors by name.
using RoundTypes = std::map<std::string, DType, std::less<>>;

struct Rounding {
  RoundTypes types;
  // Factor on the rate of scales and offsets. A scale moves as far in a step as makes the block's
  // outermost value move as a weight does, times this.
  float lr_scale = 1;
};

std::string ScaleName(std::string_view tensor);
std::string OffsetName(std::string_view tensor);
// Whether a parameter is one of those.
bool IsGrid(std::string_view name);
bool HasOffsets(DType dtype);

// Whether scales of the type can be learned; the names of all such types.
bool CanRound(DType dtype);
std::string RoundTypeNames();

// Factor on the rate of a scale or an offset beside the weights'.
float GridRate(std::string_view name, const Rounding& rounding);

struct Latents {
  at::Tensor weight;         // [out, in]
  at::Tensor scale, offset;  // [out, in / 32]; no offset: undefined
};

// Writes the rounded values, shaped as the weights.
void RoundTensor(DType dtype, const Latents& latents, at::Tensor& rounded);
// Replaces the gradient of the rounded values by that of the weights, and writes those of the grid.
void RoundTensorBackward(DType dtype, const Latents& latents, at::Tensor& grad, at::Tensor& dscale,
                         at::Tensor& doffset);
// The rounded values as they are stored.
Tensor PackTensor(DType dtype, const Latents& latents);

// Whether `file` (null: none) has a tensor in a type, and with it scales and codes to begin with.
bool HasCodes(const Model* file, std::string_view name, DType dtype);

// The model with latents and grids in the places of the tensors of `types`. A tensor that has codes
// in `file` keeps them, its scales and its offsets: weights are those of `model` clipped into their
// code's cell, so that the rounded values are the file's. Others are rounded to nearest.
Model ToLatents(const Model& model, const RoundTypes& types, const Model* file);

}  // namespace rondo
