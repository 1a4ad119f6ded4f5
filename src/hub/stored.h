// What a model takes on disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rondo/weights.h"

namespace rondo {

// Bytes of the files that hold the weights: a file and its other parts, or the .safetensors and
// .gguf files of a directory.
uint64_t StoredBytes(const std::string& path);

struct StoredType {
  std::string name;  // "q4_k"
  int64_t tensors = 0;
  uint64_t bytes = 0;
};

// The element types of a model, that with the most bytes first: of a GGUF file as it has them, else
// those of the weights that were read.
std::vector<StoredType> StoredTypes(const std::string& path, const Weights& weights);

}  // namespace rondo
