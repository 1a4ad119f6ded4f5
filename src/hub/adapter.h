// What the readers of adapters have in common.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rondo/model.h"

namespace rondo {

// The change of one canonical matrix [out, in].
struct LoraFactors {
  std::string name;  // canonical
  Tensor a, b;       // f32 [rank, in], [out, rank]
  float scale = 1;   // on b · a
  Tensor magnitude;  // [out] norms of the rows (DoRA); empty for LoRA
};

struct Adapter {
  std::vector<LoraFactors> factors;
  Weights whole;  // canonical tensors that replace the model's
};

Adapter ReadPeftAdapter(const std::string& directory, const ModelConfig& config);
Adapter ReadGgufAdapter(const std::string& file, const ModelConfig& config);

// Throws, saying what it is and for which model, if `path` is an adapter (or a file of one) and no
// model.
void RefuseAdapter(const std::string& path);

}  // namespace rondo
