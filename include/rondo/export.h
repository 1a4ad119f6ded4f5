// Writes a plain (unrolled) model for other programs to run.
//
//   ExportHf(Unroll(folded, pool), "out", DType::kF32);       // transformers.from_pretrained("out")
//   ExportGguf(Unroll(folded, pool), "out.gguf", DType::kF32); // llama.cpp
//
// The model must have the identity plan and no residuals (absorbed norms are written as unit gains).
// The tokenizer is taken from model.path. Both writes are atomic. Throws rondo::Error.
#pragma once

#include <string>

#include "rondo/model.h"

namespace rondo {

// config.json, model.safetensors and tokenizer files in the layout of model.config.family.
void ExportHf(const Model& model, const std::string& directory, DType store);
// GGUF v3 in the architecture of model.config.family; `store` is the type of the matrices.
void ExportGguf(const Model& model, const std::string& file, DType store);

}  // namespace rondo
