// safetensors container. No offset or size in the file is trusted; overlapping, truncated or
// misaligned entries are rondo::Errors naming file and tensor.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "rondo/tensor.h"

namespace rondo {

using TensorMap = std::map<std::string, Tensor, std::less<>>;

// Tensors of one file, memory-mapped. F32, F16 and BF16 only.
TensorMap ReadSafetensors(const std::string& path);

// Tensors of a model directory: model.safetensors, or all shards that model.safetensors.index.json names
// (each tensor must be in the shard that the index says, once).
TensorMap ReadSafetensorsModel(const std::string& directory);

// Writes all tensors (sorted by the order given) to `path` atomically.
void WriteSafetensors(const std::string& path,
                      const std::vector<std::pair<std::string, Tensor>>& tensors);

}  // namespace rondo
