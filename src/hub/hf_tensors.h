// Tensors of a Hugging Face checkpoint to canonical weights and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"
#include "rondo/model_config.h"
#include "rondo/weights.h"

namespace rondo {

// False for buffers that checkpoints of this family carry along (rotary frequencies, attention
// masks).
bool IsHfWeight(const ModelConfig& config, std::string_view name);

// Canonical weights for the identity plan. Matrices keep their type and stay views where the layout
// allows it; norm gains and biases become f32. Throws an Error naming `file` and the tensor for
// missing, unknown, doubled or misshapen ones, and for a head that differs from the embedding it is
// tied to.
Weights ReadHfWeights(const ModelConfig& config, const TensorMap& tensors, const std::string& file);

// The checkpoint of `weights` (identity plan), all tensors of type `store` (f32, f16 or bf16), in
// the order of the layers. Each is made when it is written; `weights` must live until then.
std::vector<TensorSource> HfTensorSources(const ModelConfig& config, const Weights& weights,
                                          DType store);

}  // namespace rondo
