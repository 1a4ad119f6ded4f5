#include "rondo/fold.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/progress.h"
#include "base/rng.h"
#include "fold/absorb.h"
#include "fold/require_plain.h"
#include "fold/residual.h"
#include "fold/shared_init.h"
#include "model/residual_start.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr double kRandomDeviation = 0.02;
constexpr double kPrefixDeviation = 0.02;

// Mean over `depths` of what `read` gives, [size]; one of them is in memory at a time.
std::vector<float> Mean(const std::vector<int>& depths, size_t size,
                        const std::function<std::vector<float>(int depth)>& read) {
  std::vector<double> sum(size);
  for (const int depth : depths) {
    const std::vector<float> values = read(depth);
    for (size_t i = 0; i < size; ++i) sum[i] += values[i];
  }
  std::vector<float> mean(size);
  const double count = std::max<double>(1, static_cast<double>(depths.size()));
  for (size_t i = 0; i < size; ++i) mean[i] = static_cast<float>(sum[i] / count);
  return mean;
}

// The folded weights, filled by several threads.
class Folder {
 public:
  Folder(const Model& model, const SharingPlan& plan, const FoldOptions& options, bool quiet)
      : model_(model),
        plan_(plan),
        options_(options),
        source_(model, plan),
        progress_("fold", CountWork(), quiet) {}

  Weights Run(ThreadPool& pool) {
    CopyOuterTensors();
    MakePrefixes();
    for (const Module m : kAllModules) {
      if (plan_[m].blocks.empty() || plan_[m].blocks[0] == kAbsorbed) continue;
      const auto sources = SourceDepths(plan_[m].blocks, options_.init);
      pool.ParallelFor(static_cast<int64_t>(sources.size()), [&](int64_t k) {
        MakeBlock(m, static_cast<int>(k), sources[static_cast<size_t>(k)]);
      });
      if (model_.config.HasBias(m)) MakeBiases(m, sources);
      if (IsLinear(m)) FitResiduals(m, pool);
    }
    return std::move(weights_);
  }

 private:
  int64_t CountWork() const {
    int64_t work = 0;
    for (const Module m : kAllModules) {
      if (IsLinear(m)) work += plan_[m].BlockCount() + static_cast<int64_t>(Jobs(m).size());
    }
    return work;
  }

  void Set(std::string name, Tensor tensor) {
    std::lock_guard lock(mutex_);
    weights_.Set(std::move(name), std::move(tensor));
  }

  // Embedding, positions, final norm, head.
  void CopyOuterTensors() {
    for (const auto& [name, tensor] : model_.weights) {
      if (!BelongsToPlan(name)) Set(name, tensor);
    }
  }

  // Small random vectors, none like another; docs/plans.md says why they are not zeros.
  void MakePrefixes() {
    const int width = model_.config.kv_heads * model_.config.head_dim;
    Rng rng(options_.seed);
    for (int depth = 0; plan_.prefix > 0 && depth < plan_.depths; ++depth) {
      for (const char* part : {"k", "v"}) {
        std::vector<float> values(static_cast<size_t>(plan_.prefix * width));
        for (float& value : values) value = static_cast<float>(kPrefixDeviation * rng.Normal());
        Set(PrefixTensor(depth, part), Tensor::FromF32({plan_.prefix, width}, std::move(values)));
      }
    }
  }

  // Block k of a linear or a norm from the mean of `sources`.
  void MakeBlock(Module m, int block, const std::vector<int>& sources) {
    Set(BlockTensor(block, m), BlockWeight(m, block, sources));
    if (IsLinear(m)) progress_.Add();
  }

  Tensor BlockWeight(Module m, int block, const std::vector<int>& sources) const {
    const Shape shape = model_.config.ModuleShape(m);
    if (sources.size() == 1 && !source_.Absorbs(m)) return source_.Stored(m, sources[0]);
    if (sources.empty()) return RandomWeight(m, block);
    return Tensor::FromF32(shape, Mean(sources, static_cast<size_t>(ElementCount(shape)),
                                       [&](int depth) { return source_.Weight(m, depth); }));
  }

  // One for each tensor: the same numbers whatever the order of the threads.
  Rng RngFor(Module m, int index) const {
    return Rng(options_.seed + 0x100000001b3u * (static_cast<uint64_t>(m) * 8192 + index + 1));
  }

  Tensor RandomWeight(Module m, int block) const {
    const Shape shape = model_.config.ModuleShape(m);
    std::vector<float> values(static_cast<size_t>(ElementCount(shape)), 1.0f);
    if (IsLinear(m)) {
      Rng rng = RngFor(m, block);
      for (float& value : values) value = static_cast<float>(kRandomDeviation * rng.Normal());
    }
    return Tensor::FromF32(shape, std::move(values));
  }

  void MakeBiases(Module m, const std::vector<std::vector<int>>& sources) {
    if (plan_[m].own_bias) {
      for (int depth = 0; depth < plan_.depths; ++depth)
        SetBias(ResidualTensor(depth, m, "bias"), m, {depth});
      return;
    }
    for (size_t k = 0; k < sources.size(); ++k) {
      SetBias(BlockTensor(static_cast<int>(k), m, "bias"), m, sources[k]);
    }
  }

  void SetBias(const std::string& name, Module m, const std::vector<int>& sources) {
    const Shape shape = {model_.config.ModuleShape(m)[0]};
    Set(name, Tensor::FromF32(shape, Mean(sources, static_cast<size_t>(shape[0]),
                                          [&](int depth) { return source_.Bias(m, depth); })));
  }

  // Depths whose residuals are fitted together: one, or a pair whose residuals are opposite.
  std::vector<std::vector<int>> Jobs(Module m) const {
    std::vector<std::vector<int>> jobs;
    if (plan_[m].residual == ResidualKind::kNone) return jobs;
    for (const std::vector<int>& depths : DepthsOfBlocks(plan_[m].blocks)) {
      if (IsOppositePair(m, depths)) {
        jobs.push_back(depths);
        continue;
      }
      for (const int depth : depths) {
        if (plan_.HasResidual(m, depth)) jobs.push_back({depth});
      }
    }
    return jobs;
  }

  // W_1 − (W_1 + W_2) / 2 = −(W_2 − (W_1 + W_2) / 2): one SVD serves both.
  bool IsOppositePair(Module m, const std::vector<int>& depths) const {
    const ModulePlan& module = plan_[m];
    const bool odd = module.residual == ResidualKind::kLora ||
                     module.residual == ResidualKind::kLoraDiag ||
                     module.residual == ResidualKind::kKronecker;
    return odd && options_.residual_start == ResidualStart::kFit &&
           options_.init == InitKind::kAverage && depths.size() == 2 &&
           plan_.HasResidual(m, depths[0]) &&
           module.ranks[static_cast<size_t>(depths[0])] ==
               module.ranks[static_cast<size_t>(depths[1])];
  }

  void FitResiduals(Module m, ThreadPool& pool) {
    const auto jobs = Jobs(m);
    pool.ParallelFor(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
      const std::vector<int>& depths = jobs[static_cast<size_t>(i)];
      ResidualParts parts = FitDepth(m, depths[0]);
      if (depths.size() == 2) SetParts(m, depths[1], NegateResidual(parts));
      SetParts(m, depths[0], std::move(parts));
      progress_.Add();
    });
  }

  ResidualParts FitDepth(Module m, int depth) {
    const ModulePlan& module = plan_[m];
    const int block = module.blocks[static_cast<size_t>(depth)];
    const Tensor shared = SharedTensor(m, block);
    if (options_.residual_start == ResidualStart::kZero) {
      Rng rng = RngFor(m, plan_.depths + depth);
      return ZeroResidual(model_.config, plan_, m, depth, shared, rng);
    }
    const int rank = module.ranks.empty() ? 0 : module.ranks[static_cast<size_t>(depth)];
    return FitResidual(module.residual, source_.WeightF64(m, depth),
                       Widen(ToF32(shared), shared.rows(), shared.cols()), rank);
  }

  Tensor SharedTensor(Module m, int block) {
    std::lock_guard lock(mutex_);
    return weights_.Get(BlockTensor(block, m));
  }

  void SetParts(Module m, int depth, ResidualParts parts) {
    for (auto& [part, tensor] : parts) Set(ResidualTensor(depth, m, part), std::move(tensor));
  }

  const Model& model_;
  const SharingPlan& plan_;
  const FoldOptions& options_;
  const SourceLayers source_;
  Progress progress_;
  std::mutex mutex_;
  Weights weights_;
};

}  // namespace

Model Fold(const Model& model, const SharingPlan& plan, const FoldOptions& options,
           ThreadPool& pool, bool quiet) {
  model.config.Validate();
  RequirePlain(model, "Fold");
  plan.Validate(model.config);
  CheckAbsorption(model.config, plan);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  Model folded{model.config, plan, Folder(model, plan, options, quiet).Run(pool), model.path};
  CheckWeights(folded.config, folded.plan, folded.weights, model.path);
  return folded;
}

}  // namespace rondo
