// Version 0 files of llama2.c (https://github.com/karpathy/llama2.c): a header of seven int32, then
// f32 tensors.
#pragma once

#include <string>

#include "rondo/model.h"

namespace rondo {

// Reads a Llama decoder into canonical form with the identity plan. The format stores neither
// norm_eps nor rope_theta; they are llama2.c's constants 1e-5 and 10000. Throws rondo::Error when a
// field makes no sense or the file's length is not exactly what its header says.
Model LoadLlama2c(const std::string& path, LoadParts parts);

// Whether a file begins with sizes that a model can have; the format has no mark of its own.
bool IsLlama2c(const std::string& path);

}  // namespace rondo
