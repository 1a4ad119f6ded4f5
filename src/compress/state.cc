#include "compress/state.h"

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "rondo/quantize.h"

namespace rondo {
namespace {

// "residual.7.q.a" with its depth replaced.
std::string AtDepth(std::string_view prefix, int depth, std::string_view rest) {
  return std::string(prefix) + std::to_string(depth) + std::string(rest);
}

class Selector {
 public:
  Selector(const State& state, std::span<const int> depths) : old_(state), depths_(depths) {}

  State Run() {
    new_.model.config = old_.model.config;
    new_.model.path = old_.model.path;
    SetConfig();
    SetPlan();
    for (const Module m : kAllModules) {
      if (old_.model.config.HasModule(m)) SelectBlocks(m);
    }
    CopyTheRest();
    return std::move(new_);
  }

 private:
  const SharingPlan& plan() const { return old_.model.plan; }

  void Copy(const std::string& from, const std::string& to) {
    new_.model.weights.Set(to, old_.model.weights.Get(from));
    new_.types[to] = old_.types.at(from);
  }

  template <typename T>
  std::vector<T> Selected(const std::vector<T>& by_depth) const {
    std::vector<T> selected;
    for (const int d : depths_) {
      if (!by_depth.empty()) selected.push_back(by_depth[static_cast<size_t>(d)]);
    }
    return selected;
  }

  void SetConfig() {
    ModelConfig& config = new_.model.config;
    config.layers = static_cast<int>(depths_.size());
    config.local_layers = Selected(config.local_layers);
    new_.origin = Selected(old_.origin);
  }

  void SetPlan() {
    SharingPlan& plan = new_.model.plan;
    plan = old_.model.plan;
    plan.order = "custom";
    plan.loops = 1;
    plan.depths = static_cast<int>(depths_.size());
    plan.exit_gate = false;
    plan.ffn_widths = Selected(plan.ffn_widths);
    plan.patches.clear();
    for (size_t d = 0; d < depths_.size(); ++d) {
      if (!old_.model.plan.HasPatch(depths_[d])) continue;
      plan.patches.push_back(static_cast<int>(d));
      Copy(PatchTensor(depths_[d]), PatchTensor(static_cast<int>(d)));
    }
  }

  // A norm's tensor is copied for every pass, a linear's once.
  void SelectBlocks(Module m) {
    const ModulePlan& before = plan()[m];
    ModulePlan& after = new_.model.plan[m];
    after.ranks = Selected(before.ranks);
    after.gains = Selected(before.gains);
    after.blocks.clear();
    after.factors.clear();
    std::map<std::pair<int, int>, int> numbers;  // (old block, pass) -> new block
    std::map<int, int> passes;                   // of old depths
    int count = 0;
    for (const int d : depths_) {
      const int block = before.blocks[static_cast<size_t>(d)];
      const int pass = passes[d]++;
      if (block == kAbsorbed) {
        after.blocks.push_back(kAbsorbed);
        continue;
      }
      const auto [at, is_new] = numbers.emplace(std::pair(block, IsLinear(m) ? 0 : pass), count);
      after.blocks.push_back(at->second);
      if (!is_new) continue;
      CopyBlock(m, block, count++);
      if (!before.factors.empty()) after.factors.push_back(before.FactorRank(block));
    }
  }

  void CopyBlock(Module m, int from, int to) {
    for (const char* part : {"weight", "a", "b", "bias"}) {
      const std::string name = BlockTensor(from, m, part);
      if (old_.model.weights.Has(name)) Copy(name, BlockTensor(to, m, part));
    }
  }

  void CopyTheRest() {
    constexpr std::string_view kResidual = "residual.";
    for (const auto& [name, tensor] : old_.model.weights) {
      if (!BelongsToPlan(name)) Copy(name, name);
      if (!name.starts_with(kResidual)) continue;
      const size_t dot = name.find('.', kResidual.size());
      const int depth = std::stoi(name.substr(kResidual.size(), dot));
      for (size_t d = 0; d < depths_.size(); ++d) {
        if (depths_[d] != depth) continue;
        Copy(name, AtDepth(kResidual, static_cast<int>(d), std::string_view(name).substr(dot)));
      }
    }
  }

  const State& old_;
  std::span<const int> depths_;
  State new_;
};

}  // namespace

State InitialState(const Model& model, DType type) {
  State state{.model = model, .types = {}, .origin = {}};
  QuantizeOptions options{.type = type, .residual = type, .embedding = type, .head = type};
  state.types = ChooseTypes(model, options).types;
  for (int d = 0; d < model.plan.depths; ++d) state.origin.push_back(d);
  return state;
}

uint64_t StoredTensorBytes(const State& state) {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : state.model.weights) {
    bytes += StorageBytes(state.types.at(name), tensor.shape());
  }
  return bytes;
}

uint64_t TokenBytes(const State& state) {
  const SharingPlan& plan = state.model.plan;
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : state.model.weights) {
    const uint64_t stored = StorageBytes(state.types.at(name), tensor.shape());
    if (name == "embed.weight" && !state.model.config.tied_embeddings) continue;
    if (!name.starts_with("blocks.")) bytes += stored;
  }
  for (const Module m : kAllModules) {
    for (const int block : plan[m].blocks) {
      for (const char* part : {"weight", "a", "b", "bias"}) {
        const std::string name = BlockTensor(block, m, part);
        const Tensor* tensor = state.model.weights.Find(name);
        if (tensor != nullptr) bytes += StorageBytes(state.types.at(name), tensor->shape());
      }
    }
  }
  return bytes;
}

State SelectDepths(const State& state, std::span<const int> depths) {
  return Selector(state, depths).Run();
}

}  // namespace rondo
