// The unique tensors of a model by canonical name, each stored once.
//
//   Weights weights;
//   weights.Set(BlockTensor(0, Module::kQ), Tensor::FromF32({8, 8}, std::vector<float>(64)));
//   const Tensor& query = weights.Get("blocks.0.q.weight");
//
//     embed.weight [vocab, d_model] (decoders); [vocab, r] where the plan factorises it, with
//     embed_projection.weight [d_model, r]
//     positions.weight [max_positions, d_model] (GPT-2)
//     blocks.<k>.<module>.weight / .bias   a block of low rank has .a and .b instead of .weight
//     residual.<depth>.<module>.<a|b|diag|scale|magnitude|gain|bias>
//     patch.<depth>.weight [d_model, d_model]
//     final_norm.weight / .bias
//     head.weight / .bias                absent when tied to the embedding
//     exit_gate.<loop>.weight / .bias    for each loop but the last, where the plan has gates
//     residual.<depth>.prefix.k / .v     [prefix, kv_heads · head_dim], with a prefix in the plan:
//                                        keys and values as attention reads them (no norm, no
//                                        rotary embedding)
//
// Copies share the tensors' storage. Threads may read one object at once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/model_config.h"
#include "rondo/sharing_plan.h"
#include "rondo/tensor.h"

namespace rondo {

std::string BlockTensor(int block, Module module, std::string_view part = "weight");
std::string ResidualTensor(int depth, Module module, std::string_view part);
std::string ExitGateTensor(int loop, std::string_view part);  // loop 0 is the first
std::string PrefixTensor(int depth, std::string_view part);   // k or v
std::string PatchTensor(int depth);                           // before that depth
bool IsPrefixTensor(std::string_view name);
// Whether a plan decides about the tensor; all others are the model's own: embedding, final norm,
// head.
bool BelongsToPlan(std::string_view name);

class Weights {
 public:
  bool Has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  // Throws naming the tensor if it is missing.
  const Tensor& Get(std::string_view name) const;
  const Tensor* Find(std::string_view name) const;
  void Set(std::string name, Tensor tensor) { tensors_[std::move(name)] = std::move(tensor); }
  void Erase(std::string_view name);
  size_t size() const { return tensors_.size(); }
  uint64_t bytes() const;
  auto begin() const { return tensors_.begin(); }
  auto end() const { return tensors_.end(); }

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
};

// A block's weight [out, in] as a whole: of one of low rank the product of its factors, f32.
Tensor BlockMatrix(const Weights& weights, const SharingPlan& plan, Module module, int block);

struct TensorSpec {
  std::string name = {};
  Shape shape = {};
};

// Every tensor that a model with this configuration and plan has: no more, no fewer.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config, const SharingPlan& plan);

// Throws naming the first missing, surplus or misshapen tensor.
void CheckWeights(const ModelConfig& config, const SharingPlan& plan, const Weights& weights,
                  const std::string& file);

struct ParameterCount {
  int64_t embedding = 0;  // embedding, learned positions, and the head unless tied to the embedding
  int64_t shared = 0;     // blocks.* (all linears and norms) and the final norm
  int64_t residual = 0;   // residual.*, patch.* and exit_gate.*
  int64_t logical = 0;    // non-embedding parameters of the unrolled model
  int64_t NonEmbedding() const { return shared + residual; }
  int64_t Total() const { return embedding + shared + residual; }
};

ParameterCount CountParameters(const ModelConfig& config, const SharingPlan& plan);

}  // namespace rondo
