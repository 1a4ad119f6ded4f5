#include "train/model/mixture.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "base/rng.h"

namespace rondo {
namespace {

constexpr double kCopyNoise = 0.01;  // of the root mean square

bool HasLowRank(ResidualKind kind) {
  return kind == ResidualKind::kLora || kind == ResidualKind::kLoraDiag ||
         kind == ResidualKind::kDora;
}

void AddCopies(Model& model, const std::string& name, int copies, uint64_t seed) {
  const Tensor& tensor = model.weights.Get(name);
  const std::vector<float> values = ToF32(tensor);
  const double squares = std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
  const double size = kCopyNoise * std::sqrt(squares / static_cast<double>(values.size()));
  Rng rng(CombineHash(HashText(name), seed));
  std::vector<std::vector<float>> all(static_cast<size_t>(copies), values);
  std::vector<double> noise(all.size());
  for (size_t i = 0; i < values.size(); ++i) {
    for (double& n : noise) n = size * rng.Normal();
    const double mean = std::accumulate(noise.begin(), noise.end(), 0.0) / copies;
    for (size_t k = 0; k < all.size(); ++k) all[k][i] += static_cast<float>(noise[k] - mean);
  }
  const Shape shape = tensor.shape();
  for (size_t k = 0; k < all.size(); ++k) {
    model.weights.Set(CopyName(name, static_cast<int>(k)), Tensor::FromF32(shape, all[k]));
  }
}

}  // namespace

std::vector<std::string> TrainedFactors(const ModelConfig& config, const SharingPlan& plan,
                                        std::span<const TrainGroup> groups,
                                        std::string_view scope) {
  std::vector<std::string> names;
  for (const Module m : kAllModules) {
    if (!IsLinear(m) || !config.HasModule(m) || !HasLowRank(plan[m].residual)) continue;
    for (int depth = 0; depth < config.layers; ++depth) {
      if (!plan.HasResidual(m, depth)) continue;
      for (const char* part : {"a", "b"}) {
        const std::string name = ResidualTensor(depth, m, part);
        if (GroupOf(groups, std::string(scope) + name) != nullptr) names.push_back(name);
      }
    }
  }
  return names;
}

Model WithCopies(const Model& model, std::span<const TrainGroup> groups, int copies,
                 uint64_t seed) {
  Model out = model;
  if (copies == 0) return out;
  for (const std::string& name : TrainedFactors(model.config, model.plan, groups)) {
    AddCopies(out, name, copies, seed);
  }
  return out;
}

void UseDraw(Params& params, const StepKey& key, int draw) {
  if (params.copies().empty()) return;
  const uint64_t hash =
      CombineHash(HashOfStep(key, RandomStream::kMixture), static_cast<uint64_t>(draw));
  for (const auto& [name, count] : params.copies()) {
    Rng rng(CombineHash(hash, HashText(name)));
    params.UseCopy(name, static_cast<int>(rng.Next() % static_cast<uint64_t>(count)));
  }
}

}  // namespace rondo
