#include "compress/repair.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/progress.h"
#include "fold/calibrate_tied.h"
#include "fold/drift.h"
#include "fold/residual.h"

namespace rondo {
namespace {

bool IsFirstUse(const SharingPlan& plan, Module m, int depth) {
  return plan.FirstUse(m, plan[m].blocks[static_cast<size_t>(depth)]) == depth;
}

// Norms, biases and all linears of a depth as they are.
void LoadDepth(const Model& model, int depth, DenseLayer& layer) {
  const SharingPlan& plan = model.plan;
  for (const Module m : kAllModules) {
    if (plan[m].blocks.empty()) continue;
    const int block = plan[m].blocks[static_cast<size_t>(depth)];
    if (block == kAbsorbed) continue;
    if (IsLinear(m)) {
      layer.SetLinear(m, MergedWeight(model.weights, plan, m, depth));
    } else {
      layer.SetGain(m, ToF32(model.weights.Get(BlockTensor(block, m))));
    }
    if (model.config.HasBias(m)) {
      layer.SetBias(m, ToF32(MergedBias(model.weights, plan, m, depth)));
    }
  }
  if (plan.HasPatch(depth)) layer.SetPatch(model.weights.Get(PatchTensor(depth)));
}

// The original and the changed model on the same text.
class SideBySide {
 public:
  SideBySide(const Model& original, const State& state, std::span<const int32_t> tokens,
             const RepairOptions& options, ThreadPool& pool)
      : original_(original),
        state_(state),
        options_(options),
        pool_(pool),
        runner_(original.config, tokens, options.context, options.max_tokens, pool),
        hidden_(runner_.Embed(original)) {
    Model embedded = UnrolledEmbedding();
    changed_ = runner_.Embed(embedded);
  }

  // Moves the original to behind the depth that `depth` of the state stands for.
  DepthReference Reference(int depth) {
    const int origin = state_.origin[static_cast<size_t>(depth)];
    for (; next_ < origin; ++next_) {
      DenseLayer layer;
      LoadSourceLayer(original_, original_.plan, next_, layer, pool_);
      runner_.Run(layer, next_, hidden_, {});
    }
    ++next_;
    return RunReference(original_, original_.plan, origin, runner_, hidden_, pool_);
  }

  void RunChanged(const DenseLayer& layer, int depth, const Tap& tap) {
    runner_.Run(layer, state_.origin[static_cast<size_t>(depth)], changed_, tap);
  }

  State& state() { return state_; }
  const std::vector<float>& original_stream() const { return hidden_; }
  std::vector<float>& changed_stream() { return changed_; }
  LayerRunner& runner() { return runner_; }

  DriftTargets Targets(const DepthReference& reference, TapPoint point, const Rows& x) {
    return {original_.config, reference,          point, x, changed_,
            options_.damping, options_.shrinkage, pool_};
  }

 private:
  Model UnrolledEmbedding() {
    const Weights& weights = state_.model.weights;
    Model model = {.config = state_.model.config, .plan = {}, .weights = {}, .path = {}};
    model.weights.Set("embed.weight", weights.Get("embed.weight"));
    if (const Tensor* p = weights.Find("positions.weight")) {
      model.weights.Set("positions.weight", *p);
    }
    if (state_.model.plan.embedding_rank == 0) return model;
    const Tensor& low = weights.Get("embed.weight");
    const Tensor& up = weights.Get("embed_projection.weight");
    std::vector<float> product(static_cast<size_t>(low.rows() * up.rows()));
    MatMul(PackedMatrix(up, DType::kF32), ToF32(low).data(), low.rows(), product.data(),
           /*accumulate=*/false, pool_);
    model.weights.Set("embed.weight", Tensor::FromF32({low.rows(), up.rows()}, std::move(product)));
    return model;
  }

  const Model& original_;
  State state_;
  const RepairOptions& options_;
  ThreadPool& pool_;
  LayerRunner runner_;
  std::vector<float> hidden_, changed_;
  int next_ = 0;  // depth of the original that has not run yet
};

// Refits the linears of one depth while it runs.
class DepthRepair {
 public:
  DepthRepair(SideBySide& pair, const DepthReference& reference, int depth)
      : pair_(pair), reference_(reference), depth_(depth) {}

  void Run() {
    LoadDepth(pair_.state().model, depth_, layer_);
    pair_.RunChanged(layer_, depth_,
                     [&](int, TapPoint point, const float* x, int64_t rows, int64_t width) {
                       Refit(point, {x, rows, width});
                     });
  }

 private:
  void Refit(TapPoint point, const Rows& x) {
    const SharingPlan& plan = pair_.state().model.plan;
    std::vector<Module> modules;
    for (const Module m : ModulesAt(point)) {
      if (plan[m].blocks.empty() || !IsFirstUse(plan, m, depth_)) continue;
      const bool plain =
          plan[m].residual == ResidualKind::kNone && plan[m].Gain(depth_) == GainKind::kNone;
      if (plain && SameInputs(point, x)) modules.push_back(m);
    }
    if (modules.empty()) return;
    const DriftTargets targets = pair_.Targets(reference_, point, x);
    if (targets.exact()) return;
    for (const Module m : modules) SetModule(m, targets);
  }

  // A narrowed feed-forward's inner channels are not the original's.
  bool SameInputs(TapPoint point, const Rows& x) const {
    return reference_.inputs[static_cast<size_t>(point)].size() ==
           static_cast<size_t>(x.count * x.width);
  }

  void SetModule(Module m, const DriftTargets& targets) {
    State& state = pair_.state();
    const SharingPlan& plan = state.model.plan;
    const int block = plan[m].blocks[static_cast<size_t>(depth_)];
    const Tensor whole = BlockMatrix(state.model.weights, plan, m, block);
    MatrixF64 target = targets.Of(Widen(ToF32(whole), whole.rows(), whole.cols()));
    const int rank = plan[m].FactorRank(block);
    if (rank == 0) {
      state.model.weights.Set(BlockTensor(block, m),
                              Tensor::FromF32(whole.shape(), Narrow(target)));
    } else {
      const MatrixF64 nothing(target.rows(), target.cols());
      TiedTarget tied = {.weight = std::move(target), .moment = targets.moment(), .rank = rank};
      const ResidualParts parts = FitToMoment(ResidualKind::kLora, std::move(tied), nothing, {});
      for (const auto& [part, tensor] : parts) {
        state.model.weights.Set(BlockTensor(block, m, part), tensor);
      }
    }
    layer_.SetLinear(m, MergedWeight(state.model.weights, plan, m, depth_));
  }

  SideBySide& pair_;
  const DepthReference& reference_;
  int depth_;
  DenseLayer layer_;
};

// [d] the gain of each channel with which `branch` comes nearest to target − stream.
std::vector<float> BestGain(std::span<const float> target, std::span<const float> stream,
                            std::span<const float> branch, size_t width) {
  constexpr double kRidge = 1e-2;  // of the branch's own energy: small gains stay small
  std::vector<double> dot(width), energy(width);
  for (size_t i = 0; i < branch.size(); ++i) {
    dot[i % width] += (double{target[i]} - stream[i]) * branch[i];
    energy[i % width] += double{branch[i]} * branch[i];
  }
  std::vector<float> gain(width);
  for (size_t c = 0; c < width; ++c) {
    gain[c] = energy[c] > 0 ? static_cast<float>(dot[c] / (energy[c] * (1 + kRidge))) : 0.0f;
  }
  return gain;
}

// Fits the gains of one returning depth: attention's, then the feed-forward's behind it.
class GainFit {
 public:
  GainFit(SideBySide& pair, const DepthReference& reference, int depth)
      : pair_(pair), reference_(reference), depth_(depth) {}

  void Run() {
    const std::vector<float> before = pair_.changed_stream();
    std::vector<float> between = Stream(TapPoint::kDownInput, before);
    Fit(Module::kO, Module::kPostAttnNorm, reference_.between, before, between);
    between = Stream(TapPoint::kDownInput, before);
    pair_.changed_stream() = before;
    RunOnce({});
    const std::vector<float> after = pair_.changed_stream();
    Fit(Module::kDown, Module::kPostFfnNorm, pair_.original_stream(), between, after);
    pair_.changed_stream() = before;
    RunOnce({});
  }

 private:
  void RunOnce(const Tap& tap) {
    DenseLayer layer;
    LoadDepth(pair_.state().model, depth_, layer);
    pair_.RunChanged(layer, depth_, tap);
  }

  // The residual stream at a tap point, begun from `before`.
  std::vector<float> Stream(TapPoint point, const std::vector<float>& before) {
    pair_.changed_stream() = before;
    std::vector<float> stream;
    RunOnce([&](int, TapPoint at, const float*, int64_t, int64_t) {
      if (at == point) stream = pair_.changed_stream();
    });
    pair_.changed_stream() = before;
    return stream;
  }

  void Fit(Module linear, Module norm, std::span<const float> target,
           const std::vector<float>& entering, const std::vector<float>& leaving) {
    State& state = pair_.state();
    const auto width = static_cast<size_t>(state.model.config.d_model);
    std::vector<float> branch(leaving.size());
    for (size_t i = 0; i < branch.size(); ++i) branch[i] = leaving[i] - entering[i];
    const std::vector<float> gain = BestGain(target, entering, branch, width);
    const auto size = static_cast<int64_t>(width);
    if (!state.model.config.post_norms) {
      state.model.weights.Set(ResidualTensor(depth_, linear, "gain"),
                              Tensor::FromF32({size}, gain));
      return;
    }
    const int block = state.model.plan[norm].blocks[static_cast<size_t>(depth_)];
    std::vector<float> scaled = ToF32(state.model.weights.Get(BlockTensor(block, norm)));
    for (size_t i = 0; i < width; ++i) scaled[i] *= gain[i];
    state.model.weights.Set(BlockTensor(block, norm), Tensor::FromF32({size}, scaled));
  }

  SideBySide& pair_;
  const DepthReference& reference_;
  int depth_;
};

// The state with the passes, norms as the original's, gains 1.
State WithPasses(const Model& original, const State& state, std::span<const int> originals,
                 std::vector<int>* returning) {
  std::vector<int> depths, origin;
  for (int old = 0; old < original.plan.depths; ++old) {
    const auto kept = std::ranges::find(state.origin, old);
    if (kept != state.origin.end()) {
      depths.push_back(static_cast<int>(kept - state.origin.begin()));
      origin.push_back(old);
    } else if (std::ranges::find(originals, old) != originals.end()) {
      returning->push_back(static_cast<int>(depths.size()));
      depths.push_back(depths.empty() ? 0 : depths.back());
      origin.push_back(old);
    }
  }
  State after = SelectDepths(state, depths);
  after.origin = origin;
  ModelConfig& config = after.model.config;
  SharingPlan& plan = after.model.plan;
  std::erase_if(plan.gone,
                [&](int old) { return std::ranges::find(originals, old) != originals.end(); });
  for (const int depth : *returning) {
    const auto at = static_cast<size_t>(depth);
    const int old = origin[at];
    if (!config.local_layers.empty()) {
      config.local_layers[at] = original.config.local_layers[static_cast<size_t>(old)];
    }
    for (const Module m : kAllModules) {
      if (IsLinear(m) || plan[m].blocks.empty() || plan[m].blocks[at] == kAbsorbed) continue;
      const int from = original.plan[m].blocks[static_cast<size_t>(old)];
      for (const char* part : {"weight", "bias"}) {
        const Tensor* tensor = original.weights.Find(BlockTensor(from, m, part));
        if (tensor) after.model.weights.Set(BlockTensor(plan[m].blocks[at], m, part), *tensor);
      }
    }
    if (config.post_norms) continue;
    for (const Module m : {Module::kO, Module::kDown}) {
      plan[m].gains.resize(static_cast<size_t>(plan.depths), GainKind::kNone);
      plan[m].gains[at] = GainKind::kVector;
      const std::string name = ResidualTensor(depth, m, "gain");
      const auto width = static_cast<size_t>(config.d_model);
      after.model.weights.Set(name,
                              Tensor::FromF32({config.d_model}, std::vector<float>(width, 1.0f)));
      after.types[name] = DType::kF32;
    }
  }
  return after;
}

}  // namespace

State AddReturns(const Model& original, const State& state, std::span<const int> originals,
                 std::span<const int32_t> tokens, const RepairOptions& options, ThreadPool& pool) {
  std::vector<int> returning;
  const State with = WithPasses(original, state, originals, &returning);
  SideBySide pair(original, with, tokens, options, pool);
  for (int depth = 0; depth < with.model.plan.depths; ++depth) {
    const DepthReference reference = pair.Reference(depth);
    if (std::ranges::find(returning, depth) != returning.end()) {
      GainFit(pair, reference, depth).Run();
    } else {
      DenseLayer layer;
      LoadDepth(pair.state().model, depth, layer);
      pair.RunChanged(layer, depth, {});
    }
  }
  return std::move(pair.state());
}

State Repair(const Model& original, const State& state, std::span<const int32_t> tokens,
             const RepairOptions& options, ThreadPool& pool, bool quiet) {
  SideBySide pair(original, state, tokens, options, pool);
  Progress progress("repair", state.model.plan.depths, quiet);
  for (int depth = 0; depth < state.model.plan.depths; ++depth) {
    const DepthReference reference = pair.Reference(depth);
    DepthRepair(pair, reference, depth).Run();
    progress.Add();
  }
  return std::move(pair.state());
}

}  // namespace rondo
