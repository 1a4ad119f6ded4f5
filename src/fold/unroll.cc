#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "fold/residual.h"
#include "rondo/fold.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

class Unroller {
 public:
  explicit Unroller(const Model& model) : model_(model), plan_(IdentityPlan(model.config)) {
    plan_.prefix = model.plan.prefix;
  }

  Model Run(ThreadPool& pool) {
    for (const auto& [name, tensor] : model_.weights) {
      if (!BelongsToPlan(name) || IsPrefixTensor(name)) weights_.Set(name, tensor);
    }
    for (const Module m : kAllModules) {
      if (!model_.config.HasModule(m)) continue;
      if (model_.plan[m].blocks[0] == kAbsorbed) {
        WriteUnitNorm(m);
        continue;
      }
      MergeWeights(m, pool);
      if (model_.config.HasBias(m)) CopyBiases(m);
    }
    return {model_.config, std::move(plan_), std::move(weights_), model_.path};
  }

 private:
  // One thread a depth. Depths without a residual share their block's tensor.
  void MergeWeights(Module m, ThreadPool& pool) {
    const ModulePlan& module = model_.plan[m];
    std::vector<Tensor> blocks(static_cast<size_t>(module.BlockCount()));
    pool.ParallelFor(module.BlockCount(), [&](int64_t k) {
      blocks[static_cast<size_t>(k)] =
          Cast(model_.weights.Get(BlockTensor(static_cast<int>(k), m)), DType::kF32);
    });
    std::vector<Tensor> merged(static_cast<size_t>(plan_.depths));
    pool.ParallelFor(plan_.depths, [&](int64_t d) {
      const auto depth = static_cast<size_t>(d);
      merged[depth] = MergeResidual(
          module.residual, FindResidual(model_.weights, model_.plan, m, static_cast<int>(d)),
          blocks[static_cast<size_t>(module.blocks[depth])]);
    });
    for (int d = 0; d < plan_.depths; ++d) {
      weights_.Set(BlockTensor(d, m), std::move(merged[static_cast<size_t>(d)]));
    }
  }

  void CopyBiases(Module m) {
    const ModulePlan& module = model_.plan[m];
    for (int d = 0; d < plan_.depths; ++d) {
      const std::string name = module.own_bias
                                   ? ResidualTensor(d, m, "bias")
                                   : BlockTensor(module.blocks[static_cast<size_t>(d)], m, "bias");
      weights_.Set(BlockTensor(d, m, "bias"), model_.weights.Get(name));
    }
  }

  void WriteUnitNorm(Module m) {
    const Shape shape = model_.config.ModuleShape(m);
    const auto width = static_cast<size_t>(shape[0]);
    const Tensor ones = Tensor::FromF32(shape, std::vector<float>(width, 1.0f));
    const Tensor zeros = Tensor::FromF32(shape, std::vector<float>(width, 0.0f));
    for (int d = 0; d < plan_.depths; ++d) {
      weights_.Set(BlockTensor(d, m), ones);
      if (model_.config.HasBias(m)) weights_.Set(BlockTensor(d, m, "bias"), zeros);
    }
  }

  const Model& model_;
  SharingPlan plan_;
  Weights weights_;
};

}  // namespace

Model Unroll(const Model& model, ThreadPool& pool) {
  model.plan.Validate(model.config);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  return Unroller(model).Run(pool);
}

}  // namespace rondo
