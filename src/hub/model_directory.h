// The one place that writes model directories.
#pragma once

#include <string>
#include <vector>

#include "formats/tensor_source.h"
#include "rondo/model.h"

namespace rondo {

struct ModelDirectory {
  std::string config;                 // text of config.json
  std::vector<TensorSource> tensors;  // model.safetensors, or shards of it
  std::string gguf;       // architecture of model.gguf, which takes the place of model.safetensors
                          // for quantised tensors; empty: none
  std::string source;     // the model this one was made from; never written over. Empty: none
  std::string tokenizer;  // model or tokenizer whose tokenizer files are copied; empty: none
};

// Writes all of it, or nothing: `directory` appears, or is replaced, in one step. What may be
// replaced: CheckOutputDirectory (base/file.h).
void WriteModelDirectory(const std::string& directory, ModelDirectory model,
                         const SaveOptions& options);

}  // namespace rondo
