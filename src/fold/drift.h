// A model and a compressed copy of it side by side, one depth at a time: how far the copy's inputs
// have drifted, and what its linears should be so that its outputs stay right nevertheless.
#pragma once

#include <array>
#include <vector>

#include "fold/calibrate_layer.h"
#include "fold/linalg.h"
#include "fold/moments.h"
#include "rondo/model.h"

namespace rondo {

// What the original's activations are at one depth.
struct DepthReference {
  std::array<std::vector<float>, kTapPoints> inputs;
  std::vector<float> before, between;  // residual stream before attention and before down
};

// Runs the original's layer at `depth` (norms absorbed as in `plan`); hidden [rows, d_model]
// becomes its output.
DepthReference RunReference(const Model& model, const SharingPlan& plan, int depth,
                            LayerRunner& runner, std::vector<float>& hidden, ThreadPool& pool);

// Targets of the linears at one tap point, where the copy's inputs are x̃ instead of the original's
// x: the least-squares map from x̃ to the original's outputs,
//   W + (W E[(x − x̃) x̃ᵀ] + E[e x̃ᵀ]) (E[x̃ x̃ᵀ] + ridge)⁻¹,
// e being the error that stands in the residual stream before o and down. Behind a norm of the
// branch's output (`post_norms`) a linear correction would miss, so e counts as none there.
class DriftTargets {
 public:
  // `stream` is the copy's residual stream before the branch of o or down. The ridge is `damping`
  // of the mean diagonal plus, since fewer tokens leave more of the regression to chance,
  // `shrinkage` · inputs / tokens of each input's own energy.
  DriftTargets(const ModelConfig& config, const DepthReference& reference, TapPoint point,
               const Rows& x, const std::vector<float>& stream, double damping, double shrinkage,
               ThreadPool& pool);

  bool exact() const { return exact_; }  // nothing has drifted: targets are the weights
  const MatrixF64& moment() const { return moment_; }  // of x̃, ridge included
  MatrixF64 Of(MatrixF64 weight) const;

 private:
  MatrixF64 moment_, drift_, debt_, factor_;
  bool exact_;
};

}  // namespace rondo
