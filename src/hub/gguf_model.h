// Plain transformer models in GGUF files, as llama.cpp's converter writes them.
#pragma once

#include <string>

#include "rondo/model.h"

namespace rondo {

// Reads a model of architecture llama, gemma, gemma3, qwen2, qwen3, gptneox or gpt2 into canonical
// form (see model_config.h, weights.h) with the identity plan. Matrices keep the type they have in
// the file and, unless their rows had to be reordered or split, stay views of the mapped file; norm
// gains and biases become f32. Throws rondo::Error for any other architecture, and for metadata or
// tensors that would change the result and are not understood.
Model LoadGgufModel(const std::string& path, LoadParts parts);

}  // namespace rondo
