// A model's weights as the engine runs them: every shared block packed once, and for each depth the
// pointers to what it uses.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/prefix_vectors.h"
#include "engine/residual.h"
#include "kernels/matmul.h"
#include "rondo/model.h"

namespace rondo {

class ThreadPool;

struct LinearUse {
  const PackedMatrix* weight = nullptr;  // null: the model has no such module
  // The first factor of a block of low rank, [rank, in]; `weight` is then the second, [out, rank].
  const PackedMatrix* first = nullptr;
  const float* bias = nullptr;         // null: none
  const Residual* residual = nullptr;  // null: none
  std::span<const float> gain = {};    // on the output: [1], [out], or empty for none
};

// One exit gate.
struct GateUse {
  const float* weight;  // [d_model]
  const float* bias;    // [1]
};

// Null gain: ones (absorbed, or no such module); null bias: zeros. The gain of a depthwise
// convolution is its kernel, [conv_kernel, d_model].
struct NormUse {
  const float* gain = nullptr;
  const float* bias = nullptr;
};

struct LayerUse {
  std::array<LinearUse, kLinearCount> linears;
  std::array<NormUse, kModuleCount - kLinearCount> norms;
  AttentionPrefix prefix;
  const PackedMatrix* patch = nullptr;  // [d_model, d_model], added to what enters; null: none

  const LinearUse& linear(Module m) const { return linears[static_cast<size_t>(m)]; }
  const NormUse& norm(Module m) const { return norms[static_cast<size_t>(m) - kLinearCount]; }
};

class PackedModel {
 public:
  // Validates configuration, plan and tensors first. Throws rondo::Error.
  // `type` as in EngineOptions.
  PackedModel(const Model& model, std::optional<DType> type, ThreadPool& pool);
  PackedModel(const PackedModel&) = delete;
  PackedModel& operator=(const PackedModel&) = delete;

  const LayerUse& layer(int depth) const { return layers_[static_cast<size_t>(depth)]; }
  // The embeddings of tokens, before any scaling: out[tokens, d_model].
  void EmbedRows(std::span<const int32_t> tokens, float* out, ThreadPool& pool) const;
  const Tensor& positions() const { return positions_; }  // empty without learned positions
  const NormUse& final_norm() const { return final_norm_; }
  const LinearUse& head() const { return head_use_; }
  int exit_gates() const { return static_cast<int>(exit_gates_.size()); }  // loops − 1, or 0
  const GateUse& exit_gate(int loop) const { return exit_gates_[static_cast<size_t>(loop)]; }
  // Bytes of all packed and decoded weights, each counted once.
  uint64_t bytes() const;

 private:
  void PackBlocks(const Model& model, std::optional<DType> type, ThreadPool& pool);
  void ResolveLayer(const Model& model, int depth);
  LinearUse ResolveLinear(const Model& model, Module m, int depth);
  NormUse ResolveNorm(const Model& model, Module m, int depth);
  const float* Bias(const Model& model, Module m, int depth);
  // The tensor decoded to f32, once.
  const float* Vector(const Weights& weights, const std::string& name);
  // The same of a matrix's transpose.
  const float* Columns(const Weights& weights, const std::string& name);
  std::span<const float> Gain(const Model& model, Module m, int depth);

  int64_t d_model_ = 0;
  std::vector<LayerUse> layers_;
  std::array<std::vector<PackedMatrix>, kLinearCount> blocks_;                  // [module][block]
  std::array<std::vector<PackedMatrix>, kLinearCount> firsts_;                  // [module][block]
  std::array<std::vector<std::unique_ptr<Residual>>, kLinearCount> residuals_;  // [module][depth]
  std::vector<PackedMatrix> patches_;                                           // as in the plan
  std::vector<PrefixVectors> prefixes_;                                         // [depth], or empty
  std::map<std::string, std::vector<float>> vectors_;
  Tensor embedding_;                              // empty where the head holds it
  PackedMatrix projection_, projection_columns_;  // of a factorised embedding: P and Pᵀ
  Tensor positions_;
  PackedMatrix head_;
  LinearUse head_use_;
  NormUse final_norm_;
  std::vector<GateUse> exit_gates_;
};

}  // namespace rondo
