// Writes models in the formats that other programs read, and in one GGUF file of rondo's own.
//
//   ExportHf(plain, "out", DType::kF32);                      // from_pretrained("out")
//   ExportGguf(plain, "out.gguf", UniformTypes(plain, DType::kF32), pool);     // llama.cpp
//   SaveNativeGguf(folded, "folded.gguf", types, pool);       // LoadModel("folded.gguf")
//
// A plain model shares nothing: Unroll() of fold.h makes one of any model. The tokenizer is taken
// from model.path. All writes are atomic, and tensors are converted one at a time. A GGUF file that
// rondo did not write is replaced with SaveOptions::force only. Throws rondo::Error. Any number of
// threads may write at once, each to a place of its own.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

// Type in which each tensor of a model is stored, by canonical name (weights.h).
using TensorTypes = std::map<std::string, DType, std::less<>>;

// Matrices as `store`; vectors and learned positions as f32.
TensorTypes UniformTypes(const Model& model, DType store);

// config.json, model.safetensors and tokenizer files in the layout of model.config.family, matrices
// as `store`. The model must have the identity plan and no residuals (absorbed norms are written as
// unit gains).
void ExportHf(const Model& model, const std::string& directory, DType store,
              const SaveOptions& options = {});

// GGUF v3 in the architecture of model.config.family; the model must be plain as for ExportHf().
// Where the architecture stores q, k and v as one tensor, it has the type of q. Throws for types
// that only rondo reads (tensor.h).
void ExportGguf(const Model& model, const std::string& file, const TensorTypes& types,
                ThreadPool& pool, bool quiet = true, const SaveOptions& options = {});

// GGUF v3 with configuration and sharing plan inside, every shared tensor once; `file` should end
// in .gguf, by which LoadModel() knows it. See docs/model-format.md.
void SaveNativeGguf(const Model& model, const std::string& file, const TensorTypes& types,
                    ThreadPool& pool, bool quiet = true, const SaveOptions& options = {});

}  // namespace rondo
