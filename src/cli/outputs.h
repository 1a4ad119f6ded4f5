// Outputs are looked at before the work that fills them: hours later is too late to learn that a
// place cannot be written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "rondo/export.h"
#include "rondo/model.h"
#include "rondo/tensor.h"

namespace rondo::cli {

// Throws when `out` must not or cannot be written, or has no room for `bytes`. With rules.force
// says on standard error what will be deleted.
void PrepareDirectory(const std::string& out, const OutputRules& rules, uint64_t bytes);
void PrepareFile(const std::string& out, const OutputRules& rules, uint64_t bytes);
// The same for a GGUF file, which must be one of rondo's if it exists.
void PrepareGguf(const std::string& out, const OutputRules& rules, uint64_t bytes);

// Bytes that tensors will take on disk, each in its type of `types` or else as f32.
uint64_t BytesToWrite(const Weights& weights, const TensorTypes& types);
// The same of a model that is still to be made, with matrices as `store` and vectors as f32.
uint64_t BytesToWrite(const ModelConfig& config, const SharingPlan& plan, DType store);

}  // namespace rondo::cli
