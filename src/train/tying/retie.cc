#include "train/tying/retie.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/hash.h"
#include "base/rng.h"
#include "fold/residual.h"
#include "model/residual_start.h"
#include "train/model/balance.h"
#include "train/model/merge.h"

namespace rondo {
namespace {

std::vector<std::string> BlockParts(const ModelConfig& config, const SharingPlan& plan, Module m) {
  std::vector<std::string> parts = {"weight"};
  if (config.HasBias(m) && !plan[m].own_bias) parts.emplace_back("bias");
  return parts;
}

MatrixF64 ToF64(const at::Tensor& matrix) {
  const at::Tensor values = matrix.detach().cpu().contiguous();
  const std::span all(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()));
  return Widen(all, values.size(0), values.size(1));
}

// Makes the tensors of the new ties, unit by unit.
class Retying {
 public:
  Retying(const Params& params, const ModelConfig& config, const Ties& before, const Ties& after,
          const Model* original)
      : params_(params), config_(config), before_(before), after_(after), original_(original) {}

  std::map<std::string, ParamSource> Run() {
    const at::NoGradGuard no_grad;
    for (const Param* param : params_.List()) {
      if (!OfTies(param->name)) sources_[param->name] = {.from = param->name};
    }
    for (size_t unit = 0; unit < after_.state.units.size(); ++unit) {
      for (const Module m : after_.state.units[unit].modules) {
        AddBlocks(unit, m);
        if (IsLinear(m)) AddResiduals(unit, m);
      }
    }
    return std::move(sources_);
  }

 private:
  // Blocks and residuals of tied modules are made anew; all other tensors stay.
  bool OfTies(const std::string& name) const {
    for (const TieUnit& unit : after_.state.units) {
      for (const Module m : unit.modules) {
        std::string part(1, '.');
        part.append(Name(m)).push_back('.');
        const bool own_bias = name.starts_with("residual.") && name.ends_with(".bias");
        if (name.find(part) != name.npos && !own_bias) return true;
      }
    }
    return false;
  }

  static int FirstUser(const TieUnit& unit, int storage) {
    const auto at = std::ranges::find(unit.storage, storage);
    return at == unit.storage.end() ? -1 : static_cast<int>(at - unit.storage.begin());
  }

  static std::string BlockName(const Ties& ties, Module m, int depth, const std::string& part) {
    return BlockTensor(ties.plan[m].blocks[static_cast<size_t>(depth)], m, part);
  }

  void AddBlocks(size_t index, Module m) {
    const TieUnit &old_unit = before_.state.units[index], &unit = after_.state.units[index];
    std::set<int> done;
    for (int depth = 0; depth < after_.state.depths(); ++depth) {
      const int storage = unit.storage[static_cast<size_t>(depth)];
      if (!done.insert(storage).second) continue;
      const int old_user = FirstUser(old_unit, storage);
      for (const std::string& part : BlockParts(config_, after_.plan, m)) {
        sources_[BlockName(after_, m, depth, part)] =
            old_user >= 0 ? Kept(m, depth, old_user, part) : Begun(m, depth, part);
      }
    }
  }

  // Stored tensors that were in use, by `old_user` among others.
  ParamSource Kept(Module m, int depth, int old_user, const std::string& part) const {
    // A residual that the plan has no more, as the diagonal of a layer that nobody follows now.
    const bool merged = part == "weight" && IsLinear(m) && before_.plan.HasResidual(m, depth) &&
                        !after_.plan.HasResidual(m, depth);
    if (merged) return {.value = MergeLinear(params_, before_.plan, m, depth)};
    return {.from = BlockName(before_, m, old_user, part)};
  }

  // Stored tensors of a layer that becomes independent.
  ParamSource Begun(Module m, int depth, const std::string& part) const {
    if (original_ != nullptr) {
      return {.value = ToTorch(original_->weights.Get(BlockTensor(depth, m, part)))};
    }
    if (part == "weight" && IsLinear(m)) {
      return {.value = MergeLinear(params_, before_.plan, m, depth)};
    }
    return {.value = params_.Get(BlockName(before_, m, depth, part))};
  }

  void AddResiduals(size_t index, Module m) {
    const TieUnit &old_unit = before_.state.units[index], &unit = after_.state.units[index];
    for (int depth = 0; depth < after_.state.depths(); ++depth) {
      const auto d = static_cast<size_t>(depth);
      if (!after_.plan.HasResidual(m, depth)) continue;
      const bool kept = before_.plan.HasResidual(m, depth) &&
                        old_unit.storage[d] == unit.storage[d] &&
                        before_.plan[m].ranks[d] == after_.plan[m].ranks[d];
      if (kept) {
        for (const TensorSpec& spec : ResidualSpecs(config_, after_.plan, m, depth)) {
          sources_[spec.name] = {.from = spec.name};
        }
        continue;
      }
      const ParamSource& block = sources_.at(BlockName(after_, m, depth, "weight"));
      const at::Tensor shared = block.from.empty() ? block.value : params_.Get(block.from);
      for (auto& [part, value] : NewResidual(m, depth, shared)) {
        sources_[ResidualTensor(depth, m, part)] = {.value = value};
      }
    }
  }

  std::map<std::string, at::Tensor> NewResidual(Module m, int depth,
                                                const at::Tensor& shared) const {
    const TieResidual& residual = after_.residual;
    const int rank = after_.plan[m].ranks[static_cast<size_t>(depth)];
    ResidualParts parts;
    if (residual.start == ResidualStart::kZero) {
      Rng rng(HashText(ResidualTensor(depth, m, "a")));
      parts = ZeroResidual(config_, after_.plan, m, depth, FromTorch(shared), rng);
    } else {
      const at::Tensor target = MergeLinear(params_, before_.plan, m, depth);
      parts = FitResidual(residual.kind, ToF64(target), ToF64(shared), rank);
    }
    std::map<std::string, at::Tensor> values;
    for (const auto& [part, tensor] : parts) values[part] = ToTorch(tensor);
    if (values.contains("a") && values.contains("b")) BalanceFactors(values["a"], values["b"]);
    return values;
  }

  const Params& params_;
  const ModelConfig& config_;
  const Ties &before_, &after_;
  const Model* original_;
  std::map<std::string, ParamSource> sources_;
};

}  // namespace

std::map<std::string, ParamSource> TensorsOfTies(const Params& params, const ModelConfig& config,
                                                 const Ties& before, const Ties& after,
                                                 const Model* original) {
  return Retying(params, config, before, after, original).Run();
}

std::vector<std::string> FrozenTensors(const ModelConfig& config, const Ties& ties) {
  std::vector<std::string> names;
  for (const TieUnit& unit : ties.state.units) {
    for (int depth = 0; depth < ties.state.depths(); ++depth) {
      const auto d = static_cast<size_t>(depth);
      if (unit.frozen[d] == 0 || !unit.Untrained(unit.storage[d])) continue;
      for (const Module m : unit.modules) {
        for (const std::string& part : BlockParts(config, ties.plan, m)) {
          names.push_back(BlockTensor(ties.plan[m].blocks[d], m, part));
        }
      }
    }
  }
  return names;
}

CutGradients GradientsOfTies(const Ties& ties, bool summed) {
  CutGradients cut(static_cast<size_t>(ties.state.depths()));
  for (const TieUnit& unit : ties.state.units) {
    for (int depth = 0; depth < ties.state.depths(); ++depth) {
      const bool reaches = unit.Independent(depth) || (summed && unit.Tied(depth));
      for (const Module m : unit.modules) {
        cut[static_cast<size_t>(depth)][static_cast<size_t>(m)] = !reaches;
      }
    }
  }
  return cut;
}

}  // namespace rondo
