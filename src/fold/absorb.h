// The plain model as the fold reads it: linears and biases of one depth, with the norms before them
// multiplied in where the plan absorbs them.
//
//   RMSNorm:   W · (γ ⊙ x̂)          = (W diag γ) · x̂
//   LayerNorm: W · (γ ⊙ x̂ + β) + b  = (W diag γ) · x̂ + (b + W β)
#pragma once

#include <optional>
#include <vector>

#include "fold/linalg.h"
#include "rondo/model.h"

namespace rondo {

// The norm whose output linear `m` reads, if any: attn_norm for q, k, v; ffn_norm for gate, up.
std::optional<Module> NormBefore(Module m);

// Throws if the plan absorbs a LayerNorm into linears without biases, which cannot take its bias.
void CheckAbsorption(const ModelConfig& config, const SharingPlan& plan);

// Reads a plain model under `plan`'s norm policy. Keeps references to both.
class SourceLayers {
 public:
  SourceLayers(const Model& model, const SharingPlan& plan) : model_(model), plan_(plan) {}

  // Whether W of `m` differs from the stored tensor.
  bool Absorbs(Module m) const;
  // W [out, in] or a norm's gain [width], f32.
  std::vector<float> Weight(Module m, int depth) const;
  MatrixF64 WeightF64(Module m, int depth) const;
  std::vector<float> Bias(Module m, int depth) const;
  const Tensor& Stored(Module m, int depth) const;

 private:
  const Model& model_;
  const SharingPlan& plan_;
};

}  // namespace rondo
