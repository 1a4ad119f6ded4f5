#include "model/residual_start.h"

#include <cmath>
#include <utility>

namespace rondo {
namespace {

std::vector<float> RowLengths(const Tensor& matrix) {
  const std::vector<float> values = ToF32(matrix);
  const auto cols = static_cast<size_t>(matrix.cols());
  std::vector<float> lengths;
  for (size_t begin = 0; begin < values.size(); begin += cols) {
    double sum = 0;
    for (size_t i = begin; i < begin + cols; ++i) sum += double{values[i]} * values[i];
    lengths.push_back(static_cast<float>(std::sqrt(sum)));
  }
  return lengths;
}

std::vector<float> Uniform(size_t count, double bound, Rng& rng) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(bound * (2 * rng.Uniform() - 1));
  return values;
}

}  // namespace

std::map<std::string, Tensor> ZeroResidual(const ModelConfig& config, const SharingPlan& plan,
                                           Module m, int depth, const Tensor& shared, Rng& rng) {
  std::map<std::string, Tensor> parts;
  const double bound = 1 / std::sqrt(static_cast<double>(shared.cols()));
  for (TensorSpec& spec : ResidualSpecs(config, plan, m, depth)) {
    const std::string part = spec.name.substr(spec.name.rfind('.') + 1);
    const auto count = static_cast<size_t>(ElementCount(spec.shape));
    std::vector<float> values(count, part == "scale" || part == "gain" ? 1.0f : 0.0f);
    if (part == "a") values = Uniform(count, bound, rng);
    if (part == "magnitude") values = RowLengths(shared);
    parts.emplace(part, Tensor::FromF32(std::move(spec.shape), std::move(values)));
  }
  return parts;
}

}  // namespace rondo
