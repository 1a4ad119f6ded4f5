#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "base/progress.h"
#include "fold/calibrate_statistics.h"
#include "fold/drift.h"
#include "fold/residual.h"
#include "quant/feedback.h"
#include "quant/residual_fit.h"
#include "rondo/error.h"
#include "rondo/fold.h"
#include "rondo/quantize.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Depths after `depth` that use the same block of `m`.
std::vector<int> LaterUses(const SharingPlan& plan, Module m, int depth) {
  const std::vector<int>& blocks = plan[m].blocks;
  std::vector<int> later;
  for (int d = depth + 1; d < plan.depths; ++d) {
    if (blocks[static_cast<size_t>(d)] == blocks[static_cast<size_t>(depth)]) later.push_back(d);
  }
  return later;
}

bool IsFirstUse(const SharingPlan& plan, Module m, int depth) {
  const std::vector<int>& blocks = plan[m].blocks;
  const auto end = blocks.begin() + depth;
  return std::find(blocks.begin(), end, blocks[static_cast<size_t>(depth)]) == end;
}

MatrixF64 Decoded(const Tensor& tensor) {
  return Widen(ToF32(tensor), tensor.rows(), tensor.cols());
}

// W = S diag(s) with muldiag: in terms of S, an input has the moment s sᵀ ∘ C.
void ScaleBoth(MatrixF64& moment, const std::vector<float>& scale) {
  for (int64_t i = 0; i < moment.rows() && !scale.empty(); ++i) {
    for (int64_t j = 0; j < moment.cols(); ++j) {
      moment(i, j) *= double{scale[static_cast<size_t>(i)]} * scale[static_cast<size_t>(j)];
    }
  }
}

class Quantizer {
 public:
  Quantizer(const Model& model, const TensorTypes& types, LayerRunner& runner,
            const QuantizeCalibration& options, ThreadPool& pool, bool quiet)
      : model_(model),
        plan_(model.plan),
        types_(types),
        options_(options),
        runner_(runner),
        pool_(pool),
        quiet_(quiet),
        plain_(Unroll(model, pool)),
        weights_(model.weights) {}

  Weights Run() {
    Measure();
    Progress progress("quantize", plan_.depths, quiet_);
    std::vector<float> hidden = runner_.Embed(plain_), rounded = hidden;
    for (int depth = 0; depth < plan_.depths; ++depth) {
      const DepthReference reference =
          RunReference(plain_, plain_.plan, depth, runner_, hidden, pool_);
      RunRounded(depth, reference, rounded);
      progress.Add();
    }
    return std::move(weights_);
  }

 private:
  // Moments at later uses of shared tensors, and output weights where residuals are refitted.
  void Measure() {
    const auto later_use = [&](int depth, TapPoint point) {
      const auto modules = ModulesAt(point);
      return std::any_of(modules.begin(), modules.end(), [&](Module m) {
        return model_.config.HasModule(m) && !IsFirstUse(plan_, m, depth);
      });
    };
    if (!plan_.SharesAnything() && !plan_.HasResiduals()) return;
    statistics_ = MeasureDepths(plain_, plain_.plan, later_use, runner_, pool_, quiet_);
  }

  void RunRounded(int depth, const DepthReference& reference, std::vector<float>& rounded) {
    DenseLayer layer;
    LoadSourceNorms(plain_, plain_.plan, depth, layer);
    runner_.Run(layer, depth, rounded,
                [&](int, TapPoint point, const float* x, int64_t rows, int64_t width) {
                  const DriftTargets targets(model_.config, reference, point, {x, rows, width},
                                             rounded, options_.damping, options_.shrinkage, pool_);
                  for (const Module m : ModulesAt(point)) {
                    if (model_.config.HasModule(m)) SetModule(m, depth, targets, layer);
                  }
                });
  }

  void SetModule(Module m, int depth, const DriftTargets& targets, DenseLayer& layer) {
    MatrixF64 weight = Decoded(plain_.weights.Get(BlockTensor(depth, m)));
    MatrixF64 target = targets.Of(weight);
    const int block = plan_[m].blocks[static_cast<size_t>(depth)];
    const std::string name = BlockTensor(block, m);
    if (IsFirstUse(plan_, m, depth) && IsQuantized(types_.at(name))) {
      weights_.Set(name, Round(m, depth, targets, Minus(target, weight), types_.at(name)));
    }
    if (plan_.HasResidual(m, depth)) {
      Refit(m, depth, targets.moment(), std::move(target), Decoded(weights_.Get(name)));
    }
    layer.SetLinear(m, MergedWeight(weights_, plan_, m, depth));
  }

  // The shared tensor of `m` at its first depth, where the outputs should change by `shift` [out,
  // in].
  Tensor Round(Module m, int depth, const DriftTargets& targets, MatrixF64 shift, DType dtype) {
    MatrixF64 goal =
        Decoded(model_.weights.Get(BlockTensor(plan_[m].blocks[static_cast<size_t>(depth)], m)));
    const std::vector<int> later = LaterUses(plan_, m, depth);
    const std::vector<float> scale = InputScale(m, depth);
    if (later.empty() && scale.empty()) {
      AddTo(goal, shift);
      return RoundTo(goal, targets.moment(), dtype);
    }
    MatrixF64 moment = targets.moment();
    MatrixF64 mapped = Multiply(shift, moment);  // shift · C, spread over all uses below
    for (int64_t i = 0; i < mapped.rows() && !scale.empty(); ++i) {
      for (int64_t j = 0; j < mapped.cols(); ++j) mapped(i, j) *= scale[static_cast<size_t>(j)];
    }
    ScaleBoth(moment, scale);
    for (const int d : later) AddTo(moment, LaterMoment(m, d));
    AddTo(goal, SolveRight(mapped, Cholesky(moment)));
    return RoundTo(goal, moment, dtype);
  }

  Tensor RoundTo(const MatrixF64& goal, const MatrixF64& moment, DType dtype) {
    Tensor rounded = RoundWithFeedback(goal, FeedbackFactor(moment), dtype, pool_);
    return RefineRounding(goal, moment, std::move(rounded), options_.passes, pool_);
  }

  // What the original feeds `m` at a later use, with the ridge that DriftTargets adds.
  MatrixF64 LaterMoment(Module m, int depth) const {
    const MatrixF32& measured =
        statistics_[static_cast<size_t>(depth)].moments[static_cast<size_t>(TapOf(m))];
    MatrixF64 moment = Widen(measured.values(), measured.rows(), measured.cols());
    Damp(moment, options_.damping);
    DampEach(moment, options_.shrinkage * static_cast<double>(moment.rows()) /
                         static_cast<double>(runner_.rows()));
    ScaleBoth(moment, InputScale(m, depth));
    return moment;
  }

  std::vector<float> InputScale(Module m, int depth) const {
    if (plan_[m].residual != ResidualKind::kMulDiag) return {};
    const Tensor* scale = model_.weights.Find(ResidualTensor(depth, m, "scale"));
    return scale == nullptr ? std::vector<float>() : ToF32(*scale);
  }

  void Refit(Module m, int depth, MatrixF64 moment, MatrixF64 target, const MatrixF64& shared) {
    const auto type = [&](const std::string& part) {
      return types_.at(ResidualTensor(depth, m, part));
    };
    ResidualParts parts = RefitResidual(
        plan_[m].residual, MakeTarget(plan_, m, depth, std::move(target), std::move(moment)),
        shared, OutputWeights(statistics_, m, {&depth, 1}),
        FindResidual(model_.weights, plan_, m, depth), type);
    for (auto& [part, tensor] : parts) weights_.Set(ResidualTensor(depth, m, part), tensor);
  }

  const Model& model_;
  const SharingPlan& plan_;
  const TensorTypes& types_;
  const QuantizeCalibration& options_;
  LayerRunner& runner_;
  ThreadPool& pool_;
  bool quiet_;
  Model plain_;  // the unrolled original
  std::vector<DepthStatistics> statistics_;
  Weights weights_;
};

}  // namespace

Model QuantizeCalibrated(const Model& model, const TensorTypes& types,
                         std::span<const int32_t> tokens, const QuantizeCalibration& options,
                         ThreadPool& pool, bool quiet) {
  model.config.Validate();
  model.plan.Validate(model.config);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  LayerRunner runner(model.config, tokens, options.context, options.max_tokens, pool);
  Quantizer quantizer(model, types, runner, options, pool, quiet);
  return {model.config, model.plan, quantizer.Run(), model.path};
}

}  // namespace rondo
