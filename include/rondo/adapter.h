// Low-rank adapters, added into the weights of the model that they were trained for.
//
//   Model model = LoadModel("base");
//   MergeAdapter("adapter", &model, pool);
//
// LoRA (Hu et al. 2021), with the scale of rsLoRA where the adapter says so, and DoRA (Liu et al.
// 2024). An adapter is a directory as PEFT saves it (adapter_config.json and
// adapter_model.safetensors) or a GGUF file as llama.cpp's converter writes it. Threads may merge
// into different models at the same time, one thread into one model.
#pragma once

#include <string>

#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

// W becomes W + scale · B · A, in f32, wherever the adapter has A and B; whole tensors that the
// adapter carries (PEFT's modules_to_save, trained biases) take the place of the model's. The model
// must share nothing: an adapter belongs to the model before it is folded. Throws rondo::Error
// naming file and tensor for an adapter of another model or of a kind that is not known.
void MergeAdapter(const std::string& path, Model* model, ThreadPool& pool);

}  // namespace rondo
