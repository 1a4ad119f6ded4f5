#include <algorithm>
#include <utility>
#include <vector>

#include "fold/residual.h"
#include "kernels/matmul.h"
#include "rondo/error.h"
#include "rondo/fold.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Zeros for the channels that a narrowed feed-forward lacks: they add nothing.
Tensor Widened(const Tensor& tensor, const Shape& shape) {
  if (tensor.shape() == shape) return tensor;
  const auto rows = static_cast<size_t>(tensor.rows()), cols = static_cast<size_t>(tensor.cols());
  const auto width = static_cast<size_t>(shape.back());
  const std::vector<float> values = ToF32(tensor);
  std::vector<float> wide(static_cast<size_t>(ElementCount(shape)), 0.0f);
  for (size_t r = 0; r < rows; ++r) {
    std::copy_n(values.data() + r * cols, cols, wide.data() + r * width);
  }
  return Tensor::FromF32(shape, std::move(wide));
}

class Unroller {
 public:
  Unroller(const Model& model, bool plain) : model_(model), plan_(IdentityPlan(model.config)) {
    if (!plain) {
      plan_.ffn_widths = model.plan.ffn_widths;
      plan_.patches = model.plan.patches;
    }
    plan_.prefix = model.plan.prefix;
    plan_.gone = model.plan.gone;
  }

  Model Run(ThreadPool& pool) {
    for (const auto& [name, tensor] : model_.weights) {
      const bool patch = name.starts_with("patch.");  // in the plan where they are not refused
      if (!BelongsToPlan(name) || IsPrefixTensor(name) || patch) weights_.Set(name, tensor);
    }
    if (model_.plan.embedding_rank > 0) MultiplyEmbedding(pool);
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
      const Tensor block = BlockMatrix(model_.weights, model_.plan, m, static_cast<int>(k));
      blocks[static_cast<size_t>(k)] = Cast(block, DType::kF32);
    });
    std::vector<Tensor> merged(static_cast<size_t>(plan_.depths));
    pool.ParallelFor(plan_.depths, [&](int64_t d) {
      const auto depth = static_cast<size_t>(d);
      const Tensor& block = blocks[static_cast<size_t>(module.blocks[depth])];
      merged[depth] =
          Widened(MergedWeight(model_.weights, model_.plan, m, static_cast<int>(d), block),
                  plan_.MatrixShape(model_.config, m, static_cast<int>(d)));
    });
    for (int d = 0; d < plan_.depths; ++d) {
      weights_.Set(BlockTensor(d, m), std::move(merged[static_cast<size_t>(d)]));
    }
  }

  void MultiplyEmbedding(ThreadPool& pool) {
    const Tensor& low = model_.weights.Get("embed.weight");
    const Tensor& projection = model_.weights.Get("embed_projection.weight");
    const int64_t vocab = low.rows(), d = projection.rows();
    std::vector<float> embedding(static_cast<size_t>(vocab * d));
    MatMul(PackedMatrix(projection, DType::kF32), ToF32(low).data(), vocab, embedding.data(),
           /*accumulate=*/false, pool);
    weights_.Set("embed.weight", Tensor::FromF32({vocab, d}, std::move(embedding)));
    weights_.Erase("embed_projection.weight");
  }

  void CopyBiases(Module m) {
    for (int d = 0; d < plan_.depths; ++d) {
      const Tensor bias = MergedBias(model_.weights, model_.plan, m, d);
      weights_.Set(BlockTensor(d, m, "bias"),
                   Widened(bias, {plan_.MatrixShape(model_.config, m, d)[0]}));
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
  if (!model.plan.patches.empty()) {
    throw Error({.function = "Unroll",
                 .problem = "a linear patch before depth " + std::to_string(model.plan.patches[0]),
                 .expected = "a plan without patches, which no plain model can hold",
                 .file = model.path,
                 .field = "patches"});
  }
  return Unroller(model, /*plain=*/true).Run(pool);
}

Model UnrollDepths(const Model& model, ThreadPool& pool) {
  model.plan.Validate(model.config);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  return Unroller(model, /*plain=*/false).Run(pool);
}

}  // namespace rondo
