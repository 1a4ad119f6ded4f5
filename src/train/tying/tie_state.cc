#include "train/tying/tie_state.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "rondo/weights.h"

namespace rondo {
namespace {

std::string UnitName(TieUnits units, Module m) {
  switch (units) {
    case TieUnits::kLayer:
      return "layer";
    case TieUnits::kModule:
      return std::string(Name(m));
    case TieUnits::kHalf:
      break;
  }
  if (IsLinear(m)) return std::string(Name(GroupOf(m)));
  const bool ffn = m == Module::kFfnNorm || m == Module::kPostFfnNorm;
  return std::string(Name(ffn ? ModuleGroup::kFfn : ModuleGroup::kAttention));
}

TieUnit StartUnit(const std::string& name, int depths, TieStart start) {
  TieUnit unit{.name = name};
  const auto count = static_cast<size_t>(depths);
  unit.own.resize(count);
  std::iota(unit.own.begin(), unit.own.end(), 0);
  unit.choice = start == TieStart::kIndependent ? unit.own : std::vector<int>(count, 0);
  unit.storage = start == TieStart::kTied ? std::vector<int>(count, 0) : unit.own;
  unit.frozen.assign(count, start == TieStart::kFrozen);
  unit.frozen[0] = 0;
  return unit;
}

}  // namespace

void TieUnit::Act(int depth, int action, Untie untie) {
  const auto d = static_cast<size_t>(depth);
  if (action == depth && Tied(depth) && untie == Untie::kAlias) own[d] = storage[d];
  choice[d] = action;
  frozen[d] = 0;
  for (size_t i = 0; i < choice.size(); ++i) {
    if (frozen[i] != 0) continue;
    const auto target = static_cast<size_t>(choice[i]);
    storage[i] = target == i ? own[i] : storage[target];
  }
}

bool TieUnit::Untrained(int storage_id) const {
  for (size_t d = 0; d < storage.size(); ++d) {
    if (storage[d] == storage_id && Independent(static_cast<int>(d))) return false;
  }
  return true;
}

std::vector<float> TieState::Vector() const {
  std::vector<float> all;
  for (const TieUnit& unit : units) all.insert(all.end(), unit.choice.begin(), unit.choice.end());
  return all;
}

double TieState::IndependentLayers() const {
  double count = 0;
  for (const TieUnit& unit : units) {
    for (int d = 0; d < depths(); ++d) count += unit.Independent(d);
  }
  return count / static_cast<double>(units.size());
}

TieState StartTies(const ModelConfig& config, TieUnits units, TieStart start, bool own_norms) {
  TieState state;
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    if (!IsLinear(m) && (own_norms || units == TieUnits::kModule)) continue;
    const std::string name = UnitName(units, m);
    auto unit = std::ranges::find(state.units, name, &TieUnit::name);
    if (unit == state.units.end()) {
      state.units.push_back(StartUnit(name, config.layers, start));
      unit = state.units.end() - 1;
    }
    unit->modules.push_back(m);
  }
  return state;
}

SharingPlan PlanOfTies(const ModelConfig& config, const SharingPlan& base, const TieState& state,
                       const TieResidual& residual) {
  SharingPlan plan = base;
  for (const TieUnit& unit : state.units) {
    std::map<int, int> block_of;
    std::vector<int> blocks;
    for (const int id : unit.storage) {
      blocks.push_back(block_of.emplace(id, static_cast<int>(block_of.size())).first->second);
    }
    for (const Module m : unit.modules) {
      plan[m].blocks = blocks;
      if (!IsLinear(m) || residual.kind == ResidualKind::kNone) continue;
      const Shape shape = config.ModuleShape(m);
      const int rank = static_cast<int>(std::min<int64_t>(residual.rank, std::ranges::min(shape)));
      plan[m].residual = residual.kind;
      plan[m].ranks.clear();
      for (int d = 0; d < state.depths(); ++d) plan[m].ranks.push_back(unit.Tied(d) ? rank : 0);
    }
  }
  if (plan.SharesAnything()) plan.order = "custom";
  return plan;
}

int64_t StoredParameters(const ModelConfig& config, const SharingPlan& base, const TieState& state,
                         const TieResidual& residual) {
  return CountParameters(config, PlanOfTies(config, base, state, residual)).NonEmbedding();
}

}  // namespace rondo
