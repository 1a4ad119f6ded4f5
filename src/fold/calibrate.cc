#include "rondo/calibrate.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/progress.h"
#include "fold/allocate_ranks.h"
#include "fold/calibrate_layer.h"
#include "fold/calibrate_statistics.h"
#include "fold/calibrate_tied.h"
#include "fold/drift.h"
#include "fold/require_plain.h"
#include "fold/shared_init.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

SharingPlan WithoutResiduals(SharingPlan plan) {
  for (const Module m : kAllModules) {
    plan[m].residual = ResidualKind::kNone;
    plan[m].ranks.clear();
  }
  return plan;
}

class Calibrator {
 public:
  Calibrator(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
             const std::vector<DepthStatistics>& statistics, LayerRunner& runner,
             const CalibrateOptions& options, ThreadPool& pool, bool quiet)
      : model_(model),
        plan_(plan),
        options_(options),
        pool_(pool),
        quiet_(quiet),
        source_(model, plan),
        statistics_(statistics),
        runner_(runner) {
    for (const Module m : kAllModules) {
      if (IsLinear(m) && model.config.HasModule(m)) {
        depths_of_[static_cast<size_t>(m)] = DepthsOfBlocks(plan[m].blocks);
      }
    }
    // Norms, biases and everything outside the layers.
    weights_ = Fold(model, WithoutResiduals(plan), fold, pool).weights;
  }

  Weights Run() {
    FitAllTied();
    if (options_.sequential) Propagate();
    return std::move(weights_);
  }

 private:
  const std::vector<int>& Partners(Module m, int depth) const {
    const int block = plan_[m].blocks[static_cast<size_t>(depth)];
    return depths_of_[static_cast<size_t>(m)][static_cast<size_t>(block)];
  }

  bool IsTied(Module m, int depth) const { return Partners(m, depth).size() > 1; }

  // Step 2: every tied group on its own, the largest matrices first.
  void FitAllTied() {
    struct Job {
      Module module;
      int block;
      TiedFit fit;
    };
    std::vector<Job> jobs;
    for (const Module m : {Module::kDown, Module::kGate, Module::kUp, Module::kO, Module::kQ,
                           Module::kK, Module::kV}) {
      const auto& blocks = depths_of_[static_cast<size_t>(m)];
      for (size_t k = 0; k < blocks.size(); ++k) {
        if (blocks[k].size() > 1 || plan_.HasResidual(m, blocks[k][0])) {
          jobs.push_back({m, static_cast<int>(k), {}});
        }
      }
    }
    Progress progress("fit", static_cast<int64_t>(jobs.size()), quiet_);
    pool_.ParallelFor(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
      Job& job = jobs[static_cast<size_t>(i)];
      const auto& depths =
          depths_of_[static_cast<size_t>(job.module)][static_cast<size_t>(job.block)];
      job.fit = FitGroup(source_, plan_, statistics_, job.module, depths, options_.damping);
      progress.Add();
    });
    for (Job& job : jobs) {
      const auto& depths =
          depths_of_[static_cast<size_t>(job.module)][static_cast<size_t>(job.block)];
      if (depths.size() > 1) SetBlock(job.module, job.block, job.fit.shared);
      for (size_t d = 0; d < depths.size(); ++d) {
        SetResidual(job.module, depths[d], std::move(job.fit.residuals[d]));
      }
    }
  }

  void SetBlock(Module m, int block, const MatrixF64& weight) {
    weights_.Set(BlockTensor(block, m),
                 Tensor::FromF32({weight.rows(), weight.cols()}, Narrow(weight)));
  }

  void SetResidual(Module m, int depth, ResidualParts parts) {
    for (auto& [part, tensor] : parts) weights_.Set(ResidualTensor(depth, m, part), tensor);
  }

  // Step 3: original and fold side by side, each depth refitted on what the fold really sees.
  void Propagate() {
    Progress progress("refit", plan_.depths, quiet_);
    std::vector<float> hidden = runner_.Embed(model_), folded = hidden;
    for (int depth = 0; depth < plan_.depths; ++depth) {
      const DepthReference reference = RunReference(model_, plan_, depth, runner_, hidden, pool_);
      RefitDepth(depth, reference, folded);
      progress.Add();
    }
  }

  void RefitDepth(int depth, const DepthReference& reference, std::vector<float>& folded) {
    DenseLayer layer;
    LoadNorms(depth, layer);
    runner_.Run(layer, depth, folded,
                [&](int, TapPoint point, const float* x, int64_t rows, int64_t width) {
                  RefitPoint(depth, point, reference, {x, rows, width}, folded, layer);
                });
  }

  // The fold's norms, biases and prefix vectors at a depth.
  void LoadNorms(int depth, DenseLayer& layer) const {
    if (plan_.prefix > 0) layer.SetPrefix(PrefixVectors(model_.config, plan_, weights_, depth));
    for (const Module m : kAllModules) {
      if (!model_.config.HasModule(m)) continue;
      const int block = plan_[m].blocks[static_cast<size_t>(depth)];
      if (block == kAbsorbed) continue;
      if (!IsLinear(m)) layer.SetGain(m, ToF32(weights_.Get(BlockTensor(block, m))));
      if (!model_.config.HasBias(m)) continue;
      layer.SetBias(m, ToF32(weights_.Get(plan_[m].own_bias ? ResidualTensor(depth, m, "bias")
                                                            : BlockTensor(block, m, "bias"))));
    }
  }

  void RefitPoint(int depth, TapPoint point, const DepthReference& reference, const Rows& x,
                  const std::vector<float>& folded, DenseLayer& layer) {
    const DriftTargets targets(model_.config, reference, point, x, folded, options_.damping,
                               options_.shrinkage, pool_);
    const auto modules = ModulesAt(point);
    std::vector<Refit> refits(modules.size());
    pool_.ParallelFor(static_cast<int64_t>(modules.size()), [&](int64_t i) {
      const Module m = modules[static_cast<size_t>(i)];
      if (!model_.config.HasModule(m)) return;
      refits[static_cast<size_t>(i)] = RefitModule(
          m, depth, targets.Of(source_.WeightF64(m, depth)), targets.moment(), targets.exact());
    });
    for (size_t i = 0; i < modules.size(); ++i) {
      Refit& refit = refits[i];
      if (refit.merged.empty()) continue;
      const int block = plan_[modules[i]].blocks[static_cast<size_t>(depth)];
      if (!refit.block.empty()) weights_.Set(BlockTensor(block, modules[i]), refit.block);
      SetResidual(modules[i], depth, std::move(refit.parts));
      layer.SetLinear(modules[i], refit.merged);
    }
  }

  struct Refit {
    Tensor block;  // set for a module of one depth only
    ResidualParts parts;
    Tensor merged;
  };

  Refit RefitModule(Module m, int depth, MatrixF64 target, const MatrixF64& moment, bool exact) {
    const Tensor& stored =
        weights_.Get(BlockTensor(plan_[m].blocks[static_cast<size_t>(depth)], m));
    const Shape shape = stored.shape();
    Refit refit;
    const ResidualKind kind = plan_[m].residual;
    if (!IsTied(m, depth)) {
      refit.merged = exact ? stored : Tensor::FromF32(shape, Narrow(target));
      if (exact) return refit;
      refit.block = refit.merged;
      MatrixF64 block = target;
      refit.parts = FitToMoment(kind, MakeTarget(plan_, m, depth, std::move(target), moment),
                                std::move(block), {});
      return refit;
    }
    MatrixF64 shared = Widen(ToF32(stored), shape[0], shape[1]);
    refit.parts = FitToMoment(kind, MakeTarget(plan_, m, depth, std::move(target), moment),
                              std::move(shared), OutputWeights(statistics_, m, {&depth, 1}));
    refit.merged = MergeResidual(kind, refit.parts, stored);
    return refit;
  }

  const Model& model_;
  const SharingPlan& plan_;
  const CalibrateOptions& options_;
  ThreadPool& pool_;
  bool quiet_;
  SourceLayers source_;
  const std::vector<DepthStatistics>& statistics_;
  LayerRunner& runner_;
  std::array<std::vector<std::vector<int>>, kLinearCount> depths_of_;
  Weights weights_;
};

bool IsTied(const SharingPlan& plan, Module m, int depth) {
  const std::vector<int>& blocks = plan[m].blocks;
  return std::count(blocks.begin(), blocks.end(), blocks[static_cast<size_t>(depth)]) > 1;
}

}  // namespace

Model FoldMeasured(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                   const std::vector<DepthStatistics>& statistics, LayerRunner& runner,
                   const CalibrateOptions& options, ThreadPool& pool, bool quiet) {
  Calibrator calibrator(model, plan, fold, statistics, runner, options, pool, quiet);
  Model folded{model.config, plan, calibrator.Run(), model.path};
  CheckWeights(folded.config, folded.plan, folded.weights, model.path);
  return folded;
}

namespace {

std::vector<DepthStatistics> MeasureTied(const Model& model, const SharingPlan& plan,
                                         LayerRunner& runner, ThreadPool& pool, bool quiet) {
  const auto wanted = [&](int depth, TapPoint point) {
    const auto modules = ModulesAt(point);
    return std::any_of(modules.begin(), modules.end(), [&](Module m) {
      return model.config.HasModule(m) && IsTied(plan, m, depth);
    });
  };
  return MeasureDepths(model, plan, wanted, runner, pool, quiet);
}

void CheckPlan(const Model& model, const SharingPlan& plan, const FoldOptions& fold) {
  model.config.Validate();
  RequirePlain(model, "FoldCalibrated");
  plan.Validate(model.config);
  for (const ModulePlan& module : plan.modules) CheckCalibrated(module.residual);
  if (fold.residual_start == ResidualStart::kZero) {
    throw Error({.function = "FoldCalibrated",
                 .problem = "residuals that start at zero",
                 .expected = "a fold without calibration; calibration fits residuals",
                 .field = "residual_start"});
  }
}

}  // namespace

Model FoldCalibrated(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                     std::span<const int32_t> tokens, const CalibrateOptions& options,
                     ThreadPool& pool, bool quiet) {
  CheckPlan(model, plan, fold);
  LayerRunner runner(model.config, tokens, options.context, options.max_tokens, pool);
  const auto statistics = MeasureTied(model, plan, runner, pool, quiet);
  const SharingPlan ranked =
      options.allocate_ranks ? AllocateRanks(model, plan, statistics, tokens, options, pool, quiet)
                             : plan;
  return FoldMeasured(model, ranked, fold, statistics, runner, options, pool, quiet);
}

Model FoldEncoderCalibrated(const Model& model, const SharingPlan& plan, const FoldOptions& fold,
                            std::vector<float> rows, const CalibrateOptions& options,
                            ThreadPool& pool, bool quiet) {
  CheckPlan(model, plan, fold);
  LayerRunner runner(model.config, std::move(rows), options.context, pool);
  const auto statistics = MeasureTied(model, plan, runner, pool, quiet);
  return FoldMeasured(model, plan, fold, statistics, runner, options, pool, quiet);
}

}  // namespace rondo
