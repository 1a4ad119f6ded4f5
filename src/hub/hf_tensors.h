// Tensors of a Hugging Face checkpoint to canonical weights and back.
#pragma once

#include <optional>
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
// missing, unknown, doubled or misshapen ones. A head that really differs from the embedding it
// should be tied to is kept, and config->tied_embeddings becomes false.
Weights ReadHfWeights(ModelConfig* config, const TensorMap& tensors, const std::string& file);

// A tensor's name without the family's prefix: "layers.0.self_attn.q_proj.weight".
std::string HfBareName(const ModelConfig& config, std::string_view name);
// The canonical tensors that one stored tensor of that bare name holds, a head also where it is
// tied; nothing for an unknown name or another shape.
std::optional<Weights> HfCanonical(const ModelConfig& config, std::string_view name,
                                   const Tensor& stored);
// As many rows as the matrix of that bare name has outputs, [out, n], each under the canonical name
// of the matrix that its output belongs to.
std::optional<Weights> HfCanonicalRows(const ModelConfig& config, std::string_view name,
                                       const Tensor& rows);

// The checkpoint of `weights` (identity plan), all tensors of type `store` (f32, f16 or bf16), in
// the order of the layers. Each is made when it is written; `weights` must live until then.
std::vector<TensorSource> HfTensorSources(const ModelConfig& config, const Weights& weights,
                                          DType store);

}  // namespace rondo
