// Outputs are looked at before the work that fills them: hours later is too late to learn that a
// place cannot be written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "rondo/model.h"
#include "rondo/tensor.h"

namespace rondo::cli {

// Throws when `out` must not or cannot be written, or has no room for `bytes`. With rules.force
// says on standard error what will be deleted.
void PrepareDirectory(const std::string& out, const OutputRules& rules, uint64_t bytes);
void PrepareFile(const std::string& out, const OutputRules& rules, uint64_t bytes);
// The same for a GGUF file, which must be one of rondo's if it exists.
void PrepareGguf(const std::string& out, const OutputRules& rules, uint64_t bytes);

// Bytes of a model on disk with matrices stored as `store`, vectors as f32.
uint64_t StoredBytes(const ModelConfig& config, const SharingPlan& plan, DType store);

}  // namespace rondo::cli
