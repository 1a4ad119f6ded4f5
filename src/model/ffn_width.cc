#include "rondo/ffn_width.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "rondo/error.h"

namespace rondo {
namespace {

void RequireSliceable(const SharingPlan& plan) {
  if (!plan.ffn_widths.empty()) {
    throw Error({.function = "CutFfn",
                 .problem = "feed-forwards that are narrowed already",
                 .expected = "a model whose depths all have d_ff channels",
                 .field = "ffn_widths"});
  }
  for (const Module m : {Module::kGate, Module::kUp, Module::kDown}) {
    const ResidualKind kind = plan[m].residual;
    const bool whole =
        kind == ResidualKind::kKronecker || (kind == ResidualKind::kDora && m == Module::kDown);
    if (!whole) continue;
    throw Error({.function = "CutFfn",
                 .problem = "a " + std::string(Name(kind)) + " residual, which cannot be cut",
                 .expected = "an unrolled model, or another residual",
                 .field = "modules." + std::string(Name(m))});
  }
}

// The first elements along each dimension.
Tensor LeadingPart(const Tensor& tensor, const Shape& shape) {
  const bool matrix = shape.size() == 2;
  const int64_t rows = matrix ? shape[0] : 1, cols = shape.back();
  std::vector<float> row(static_cast<size_t>(tensor.cols()));
  std::vector<float> values;
  values.reserve(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r) {
    RowToF32(tensor, r, row.data());
    values.insert(values.end(), row.begin(), row.begin() + cols);
  }
  return Tensor::FromF32(shape, std::move(values));
}

}  // namespace

int FfnWidth(const ModelConfig& config, double share) {
  if (!(share > 0 && share <= 1)) {
    throw Error({.function = "FfnWidth",
                 .problem = "a share of " + std::to_string(share),
                 .expected = "above 0, at most 1"});
  }
  return std::max(1, static_cast<int>(std::lround(share * config.d_ff)));
}

Model CutFfn(const Model& model, double share) {
  Model cut{.config = model.config, .plan = model.plan, .weights = {}, .path = model.path};
  cut.config.d_ff = FfnWidth(model.config, share);
  if (cut.config.d_ff == model.config.d_ff) return model;
  RequireSliceable(model.plan);
  cut.plan.Validate(cut.config);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  // What the width decides are the leading rows of gate and up and the leading columns of down; of
  // their residuals, too, it is a leading part.
  for (const TensorSpec& spec : ExpectedTensors(cut.config, cut.plan)) {
    const Tensor& whole = model.weights.Get(spec.name);
    const bool same = whole.shape() == spec.shape;
    cut.weights.Set(spec.name, same ? whole : LeadingPart(whole, spec.shape));
  }
  return cut;
}

}  // namespace rondo
