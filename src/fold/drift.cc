#include "fold/drift.h"

#include <algorithm>

#include "rondo/thread_pool.h"

namespace rondo {
namespace {

bool IsZero(const MatrixF64& m) {
  return std::all_of(m.values().begin(), m.values().end(), [](double v) { return v == 0; });
}

// Mean of (reference − own)ᵀ x over rows.
MatrixF64 DifferenceMoment(const std::vector<float>& reference, const float* own, int64_t width,
                           const Rows& x, ThreadPool& pool) {
  std::vector<float> difference(reference.size());
  for (size_t i = 0; i < difference.size(); ++i) difference[i] = reference[i] - own[i];
  return CrossMoment({difference.data(), x.count, width}, x, pool);
}

}  // namespace

DepthReference RunReference(const Model& model, const SharingPlan& plan, int depth,
                            LayerRunner& runner, std::vector<float>& hidden, ThreadPool& pool) {
  DenseLayer layer;
  LoadSourceLayer(model, plan, depth, layer, pool);
  DepthReference reference;
  runner.Run(layer, depth, hidden,
             [&](int, TapPoint point, const float* x, int64_t rows, int64_t width) {
               reference.inputs[static_cast<size_t>(point)].assign(x, x + rows * width);
               if (point == TapPoint::kAttnInput) reference.before = hidden;
               if (point == TapPoint::kDownInput) reference.between = hidden;
             });
  return reference;
}

DriftTargets::DriftTargets(const ModelConfig& config, const DepthReference& reference,
                           TapPoint point, const Rows& x, const std::vector<float>& stream,
                           double damping, double shrinkage, ThreadPool& pool)
    : moment_(CrossMoment(x, x, pool)) {
  Damp(moment_, damping);
  DampEach(moment_, shrinkage * static_cast<double>(x.width) /
                        static_cast<double>(std::max<int64_t>(x.count, 1)));
  drift_ = DifferenceMoment(reference.inputs[static_cast<size_t>(point)], x.data, x.width, x, pool);
  if (!config.post_norms && (point == TapPoint::kOInput || point == TapPoint::kDownInput)) {
    debt_ = DifferenceMoment(point == TapPoint::kOInput ? reference.before : reference.between,
                             stream.data(), config.d_model, x, pool);
  }
  exact_ = IsZero(drift_) && IsZero(debt_);
  if (!exact_) factor_ = Cholesky(moment_);
}

MatrixF64 DriftTargets::Of(MatrixF64 weight) const {
  if (exact_) return weight;
  MatrixF64 shift = Multiply(weight, drift_);
  if (debt_.rows() > 0) AddTo(shift, debt_);
  AddTo(weight, SolveRight(shift, factor_));
  return weight;
}

}  // namespace rondo
