// safetensors container: an 8-byte little-endian header length, a JSON header, raw tensors. No
// offset or size in the file is trusted; overlapping, truncated or unaccounted bytes are
// rondo::Errors naming file and tensor.
//
//   TensorMap tensors = ReadSafetensorsModel("models/smollm2");
//   WriteSafetensors("copy.safetensors", {{"w", tensors.at("w")}});
//
// Format: github.com/huggingface/safetensors, README "Format".
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/tensor_source.h"
#include "rondo/tensor.h"

namespace rondo {

using TensorMap = std::map<std::string, Tensor, std::less<>>;

// Whether a tensor is wanted; others are checked but not returned, and may be of any type.
using TensorFilter = std::function<bool(std::string_view name)>;

// Tensors of one file, memory-mapped (copied where the file's layout leaves them misaligned). F32,
// F16, BF16, and F64, which becomes f32.
TensorMap ReadSafetensors(const std::string& path, const TensorFilter& wanted = {});

// Tensors of a model directory: model.safetensors, or all shards that model.safetensors.index.json
// names (each tensor must be in the shard that the index says, once).
TensorMap ReadSafetensorsModel(const std::string& directory, const TensorFilter& wanted = {});

// Writes all tensors (sorted by the order given) to `path` atomically.
void WriteSafetensors(const std::string& path,
                      const std::vector<std::pair<std::string, Tensor>>& tensors);

// Writes model.safetensors into `directory`, or shards of at most `max_shard_bytes` of tensors (a
// larger tensor gets a shard of its own) with model.safetensors.index.json. Each file is written
// atomically.
void WriteSafetensorsModel(const std::string& directory, const std::vector<TensorSource>& tensors,
                           uint64_t max_shard_bytes = 5'000'000'000);

}  // namespace rondo
