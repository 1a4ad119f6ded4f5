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
        plain_(UnrollDepths(model, pool)),
        weights_(model.weights) {}

  Weights Run() {
    Measure();
    Progress progress("quantize", plan_.depths, quiet_);
    RoundVocabulary();
    std::vector<float> hidden = runner_.Embed(plain_), rounded = runner_.Embed(RoundedEmbedding());
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
    const bool factors = std::ranges::any_of(
        plan_.modules, [](const ModulePlan& module) { return !module.factors.empty(); });
    if (!plan_.SharesAnything() && !plan_.HasResiduals() && !factors) return;
    statistics_ = MeasureDepths(plain_, plain_.plan, later_use, runner_, pool_, quiet_);
  }

  // The head, and the embedding where it is the head, by what enters the head of the original.
  void RoundVocabulary() {
    const bool tied = model_.config.tied_embeddings;
    const char* name = tied ? "embed.weight" : "head.weight";
    const Tensor* head = model_.weights.Find(name);
    const auto type = types_.find(name);
    if (head == nullptr || plan_.embedding_rank > 0 || type == types_.end()) return;
    if (!IsQuantized(type->second) || head->dtype() == type->second) return;
    weights_.Set(name, RoundHead(*head, HeadMoment(), tied, type->second, pool_));
  }

  // Second moment of the original's final norm.
  MatrixF64 HeadMoment() {
    std::vector<float> hidden = runner_.Embed(plain_);
    for (int depth = 0; depth < plan_.depths; ++depth) {
      DenseLayer layer;
      LoadSourceLayer(plain_, plain_.plan, depth, layer, pool_);
      runner_.Run(layer, depth, hidden, {});
    }
    const std::vector<float> gain = ToF32(model_.weights.Get("final_norm.weight"));
    const Tensor* stored = model_.weights.Find("final_norm.bias");
    const std::vector<float> bias = stored == nullptr ? std::vector<float>() : ToF32(*stored);
    const NormUse norm = {.gain = gain.data(), .bias = bias.empty() ? nullptr : bias.data()};
    const int64_t d = model_.config.d_model;
    RunNorm(model_.config, norm, hidden.data(), runner_.rows(), d, hidden.data(), pool_);
    const Rows rows = {hidden.data(), runner_.rows(), d};
    return CrossMoment(rows, rows, pool_);
  }

  // The plain model's configuration with the embedding as it is rounded.
  Model RoundedEmbedding() const {
    Model model = {
        .config = plain_.config, .plan = plain_.plan, .weights = plain_.weights, .path = {}};
    if (plan_.embedding_rank > 0 || model_.config.vocab == 0) return model;
    const auto type = types_.find("embed.weight");
    Tensor embedding = weights_.Get("embed.weight");
    if (type != types_.end()) embedding = Cast(embedding, type->second, &pool_);
    model.weights.Set("embed.weight", std::move(embedding));
    return model;
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
    if (plan_[m].FactorRank(block) > 0) {
      if (IsFirstUse(plan_, m, depth)) RefitFactors(m, depth, targets.moment(), std::move(target));
      layer.SetLinear(m, MergedWeight(weights_, plan_, m, depth));
      return;
    }
    const std::string name = BlockTensor(block, m);
    if (IsFirstUse(plan_, m, depth) && IsQuantized(types_.at(name))) {
      weights_.Set(name,
                   Round(m, depth, targets, Shift(m, depth, target, weight), types_.at(name)));
    }
    if (plan_.HasResidual(m, depth)) {
      Refit(m, depth, targets.moment(), std::move(target), Decoded(weights_.Get(name)));
    }
    layer.SetLinear(m, MergedWeight(weights_, plan_, m, depth));
  }

  // By how much the outputs should change. Behind a gain nothing is made good: see Refit().
  MatrixF64 Shift(Module m, int depth, const MatrixF64& target, const MatrixF64& weight) const {
    if (plan_[m].Gain(depth) != GainKind::kNone) return {weight.rows(), weight.cols()};
    return Minus(target, weight);
  }

  // Both factors of a block of low rank, at its first depth.
  void RefitFactors(Module m, int depth, MatrixF64 moment, MatrixF64 target) {
    const int block = plan_[m].blocks[static_cast<size_t>(depth)];
    const auto type = [&](const std::string& part) {
      return types_.at(BlockTensor(block, m, part));
    };
    ResidualParts old;
    for (const char* part : {"a", "b"}) old[part] = model_.weights.Get(BlockTensor(block, m, part));
    TiedTarget tied = MakeTarget(plan_, m, depth, std::move(target), std::move(moment));
    tied.rank = plan_[m].FactorRank(block);
    const MatrixF64 nothing(tied.weight.rows(), tied.weight.cols());
    ResidualParts parts = plan_[m].Gain(depth) == GainKind::kNone
                              ? RefitResidual(ResidualKind::kLora, tied, nothing,
                                              OutputWeights(statistics_, m, {&depth, 1}), old, type)
                              : EncodeResidual(ResidualKind::kLora, old, type);
    for (auto& [part, tensor] : parts) weights_.Set(BlockTensor(block, m, part), tensor);
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
    ResidualParts old = FindResidual(model_.weights, plan_, m, depth);
    // A target in front of a gain would have to be divided by it, and gains begin at 0.
    const bool gained = plan_[m].Gain(depth) != GainKind::kNone;
    ResidualParts parts =
        gained ? EncodeResidual(plan_[m].residual, old, type)
               : RefitResidual(plan_[m].residual,
                               MakeTarget(plan_, m, depth, std::move(target), std::move(moment)),
                               shared, OutputWeights(statistics_, m, {&depth, 1}), old, type);
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
