// A model as read from disk: what it is (config), how its layers share (plan), its weights.
//
//   Model model = LoadModel("models/smollm2");   // HF directory, native directory or GGUF file
//   SaveModel(model, "out", DType::kBF16);        // native directory, written atomically
//
// Immutable after loading; may be read from any number of threads.
#pragma once

#include <string>

#include "rondo/model_config.h"
#include "rondo/sharing_plan.h"
#include "rondo/weights.h"

namespace rondo {

struct Model {
  ModelConfig config = {};
  SharingPlan plan = {};
  Weights weights = {};   // empty when loaded with LoadParts::kConfig
  std::string path = {};  // where it came from, with its tokenizer; empty: made in memory
};

enum class LoadParts { kAll, kConfig };

// Reads any supported model. `path` is a directory with config.json (with or without "rondo"), a
// .gguf file, or a llama2.c .bin file. kConfig also accepts a bare config.json and needs no
// weights. Throws rondo::Error for anything unknown, malformed or missing.
Model LoadModel(const std::string& path, LoadParts parts = LoadParts::kAll);

struct SaveOptions {
  // Replaces a directory with all that is in it. Otherwise one that holds files that rondo did not
  // write, or has changed since, is refused.
  bool force = false;
};

// Writes config.json, model.safetensors (unique tensors, canonical names) and the tokenizer files
// of model.path as a directory at `directory`, atomically. Matrices (linears, embeddings, residual
// factors) are written as `store` (f32, f16 or bf16), norms and other vectors as f32. See
// docs/model-format.md.
//
// The model that `model` was loaded from is never written over, and neither is a directory with
// files that rondo did not write: both throw.
void SaveModel(const Model& model, const std::string& directory, DType store,
               const SaveOptions& options = {});

}  // namespace rondo
