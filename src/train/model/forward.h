// The forward pass over a plan as functions of tensors, differentiable where gradients are wanted.
// It computes what src/engine computes, for whole sequences from position 0.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/model_config.h"
#include "train/model/fused.h"
#include "train/model/merge.h"
#include "train/model/torch.h"

namespace rondo {

enum class ComputeType { kF32, kBf16 };  // of the products' operands; sums and all else are f32

inline at::ScalarType OperandType(ComputeType compute) {
  return compute == ComputeType::kBf16 ? at::kBFloat16 : at::kFloat;
}

// The sequences of a batch.
struct RowsShape {
  int64_t rows = 0;
  int64_t length = 0;
  // int32 [rows, length, 2], on the CPU: the keys [begin, end) that each position sees; undefined
  // when every row is one document. Sliding windows come on top.
  at::Tensor visible;
  // Speech models. What cross-attention reads, [rows · memory_length, d_model], and how many
  // positions of each row.
  at::Tensor memory;
  int64_t memory_length = 0;
  std::vector<int64_t> memory_lengths;
  double dropout = 0;  // of the branches, drawn from LibTorch's generator
};

// `document` [rows, length]: positions see only their own document's.
RowsShape ShapeOfRows(int64_t rows, int64_t length, std::span<const int32_t> document = {});

class Forward {
 public:
  Forward(const ModelConfig& config, int64_t max_length, ComputeType compute = ComputeType::kF32,
          at::Device device = at::kCPU);

  // hidden[tokens, d_model] behind one layer. Without `visible` every position of a model that is
  // not causal sees all of its row.
  at::Tensor Layer(const LayerTensors& layer, int depth, const at::Tensor& hidden,
                   const RowsShape& shape) const;
  at::Tensor Norm(const NormTensors& norm, const at::Tensor& x) const;
  const ModelConfig& config() const { return config_; }
  int64_t max_length() const { return max_length_; }
  ComputeType compute() const { return compute_; }

 private:
  // [at least length, rotary_dim]
  at::Tensor Angles(bool local, int64_t length, at::Device device) const;
  at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) const;
  at::Tensor Attention(const LayerTensors& layer, int depth, const at::Tensor& x,
                       const RowsShape& shape) const;
  // `prefix`: keys at the beginning of heads.k that every query sees.
  at::Tensor Attend(const Heads& heads, int64_t prefix, bool local, const RowsShape& shape) const;
  at::Tensor WithPrefix(const at::Tensor& prefix, const at::Tensor& heads) const;
  at::Tensor WithHeadNorms(const LayerTensors& layer, const at::Tensor& qkv) const;
  at::Tensor Ffn(const LayerTensors& layer, const at::Tensor& x) const;
  at::Tensor PreFfn(const LayerTensors& layer, const at::Tensor& x) const;
  at::Tensor CrossAttention(const LayerTensors& layer, const at::Tensor& x,
                            const RowsShape& shape) const;
  at::Tensor Convolution(const LayerTensors& layer, const at::Tensor& x,
                         const RowsShape& shape) const;

  ModelConfig config_;
  int64_t max_length_;
  ComputeType compute_;
  at::Tensor angles_, local_angles_;  // [max_length, rotary_dim]
};

// What turns token ids into hidden states, or the gradients of it.
struct EmbeddingTensors {
  at::Tensor rows;        // [vocab, d_model], or [vocab, rank] beside a projection
  at::Tensor projection;  // [d_model, rank]; undefined: the embedding is one matrix
  at::Tensor positions;   // undefined: rotary embedding
};

// hidden[tokens, d_model] of token ids at positions 0 … length − 1 of each row.
at::Tensor EmbedTokens(const ModelConfig& config, const EmbeddingTensors& embedding,
                       std::span<const int32_t> tokens, int64_t length);
// Adds the gradient of EmbedTokens to `gradients` (any of them may be undefined).
void EmbedTokensBackward(const ModelConfig& config, const EmbeddingTensors& embedding,
                         const at::Tensor& d_leaving, std::span<const int32_t> tokens,
                         int64_t length, const EmbeddingTensors& gradients);

}  // namespace rondo
