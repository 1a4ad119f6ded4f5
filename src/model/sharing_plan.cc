#include "rondo/sharing_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "model/residual_names.h"
#include "rondo/error.h"

namespace rondo {
namespace {

[[noreturn]] void Fail(const std::string& field, std::string problem, std::string expected) {
  throw Error({.function = "SharingPlan::Validate",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = field});
}

void ValidateBlocks(const std::string& field, const ModulePlan& module, bool may_absorb,
                    int depths) {
  if (module.blocks.size() != static_cast<size_t>(depths)) {
    Fail(field, std::to_string(module.blocks.size()) + " entries",
         "one per depth, " + std::to_string(depths));
  }
  const bool absorbed = module.blocks[0] == kAbsorbed;
  if (absorbed && !may_absorb) {
    Fail(field, "absorbed", "blocks: only attn_norm and ffn_norm can be absorbed");
  }
  int next = 0;
  for (const int block : module.blocks) {
    if (absorbed ? block != kAbsorbed : block < 0 || block > next) {
      Fail(field, "block " + std::to_string(block),
           absorbed ? "all depths absorbed, or none"
                    : "ids from 0 without gaps in order of first use; next new id is " +
                          std::to_string(next));
    }
    if (block == next) ++next;
  }
}

void ValidateFactors(const std::string& field, const ModulePlan& module, const Shape& shape) {
  if (module.factors.empty()) return;
  if (module.factors.size() != static_cast<size_t>(module.BlockCount())) {
    Fail(field, std::to_string(module.factors.size()) + " entries",
         "one per block, " + std::to_string(module.BlockCount()));
  }
  const int64_t limit = std::min(shape[0], shape[1]);
  for (const int rank : module.factors) {
    if (rank < 0 || rank > limit) {
      Fail(field, "rank " + std::to_string(rank), "0 to " + std::to_string(limit));
    }
  }
}

// Ascending and within [0, limit).
void ValidateDepthList(const std::string& field, const std::vector<int>& depths, int limit) {
  for (size_t i = 0; i < depths.size(); ++i) {
    if (depths[i] >= 0 && depths[i] < limit && (i == 0 || depths[i] > depths[i - 1])) continue;
    Fail(field, "depth " + std::to_string(depths[i]),
         "0 to " + std::to_string(limit - 1) + " in ascending order");
  }
}

void ValidateFfnWidths(const SharingPlan& plan, const ModelConfig& config) {
  if (plan.ffn_widths.empty()) return;
  if (plan.ffn_widths.size() != static_cast<size_t>(plan.depths)) {
    Fail("ffn_widths", std::to_string(plan.ffn_widths.size()) + " entries",
         "one per depth, " + std::to_string(plan.depths));
  }
  for (int depth = 0; depth < plan.depths; ++depth) {
    const int width = plan.ffn_widths[static_cast<size_t>(depth)];
    if (width < 1 || width > config.d_ff) {
      Fail("ffn_widths", std::to_string(width), "1 to " + std::to_string(config.d_ff));
    }
    for (const Module m : {Module::kGate, Module::kUp, Module::kDown}) {
      if (!config.HasModule(m)) continue;
      const int first = plan.FirstUse(m, plan[m].blocks[static_cast<size_t>(depth)]);
      if (plan.ffn_widths[static_cast<size_t>(first)] != width) {
        Fail("ffn_widths", std::to_string(width) + " at depth " + std::to_string(depth),
             "the width of depth " + std::to_string(first) + ", which uses the same block of " +
                 std::string(Name(m)));
      }
    }
  }
}

void ValidateRanks(const std::string& field, const ModulePlan& module, const Shape& shape,
                   int depths) {
  if (!module.gains.empty() && module.gains.size() != static_cast<size_t>(depths)) {
    Fail(field, std::to_string(module.gains.size()) + " gains", "one per depth");
  }
  if (module.residual == ResidualKind::kNone || module.residual == ResidualKind::kMulDiag) {
    if (!module.ranks.empty()) Fail(field, "ranks given", "none for this kind of residual");
    return;
  }
  if (module.ranks.size() != static_cast<size_t>(depths)) {
    Fail(field, std::to_string(module.ranks.size()) + " entries", "one rank per depth");
  }
  int64_t limit = std::min(shape[0], shape[1]);
  if (module.residual == ResidualKind::kKronecker) {
    const auto [out_a, in_a] = KroneckerFactor(shape[0], shape[1]);
    limit = std::min(out_a * in_a, shape[0] / out_a * (shape[1] / in_a));
  }
  for (const int rank : module.ranks) {
    if (rank < 0 || rank > limit) {
      Fail(field, "rank " + std::to_string(rank), "0 to " + std::to_string(limit));
    }
  }
}

int64_t DivisorNearRoot(int64_t n) {
  int64_t divisor = 1;
  for (int64_t d = 1; d * d <= n; ++d) {
    if (n % d == 0) divisor = d;
  }
  return divisor;
}

}  // namespace

std::string_view Name(ResidualKind kind) { return ChoiceName(kind); }

ResidualKind ResidualKindFromName(std::string_view name) {
  return ChoiceFromName<ResidualKind>(name, "ResidualKindFromName");
}

std::string_view Name(GainKind kind) { return ChoiceName(kind); }

GainKind GainKindFromName(std::string_view name) {
  return ChoiceFromName<GainKind>(name, "GainKindFromName");
}

int ModulePlan::BlockCount() const {
  return blocks.empty() ? 0 : *std::max_element(blocks.begin(), blocks.end()) + 1;
}

bool SharingPlan::SharesAnything() const {
  return std::any_of(modules.begin(), modules.end(), [&](const ModulePlan& module) {
    return !module.blocks.empty() && module.blocks[0] != kAbsorbed && module.BlockCount() < depths;
  });
}

bool SharingPlan::HasResidual(Module m, int depth) const {
  const ModulePlan& module = (*this)[m];
  switch (module.residual) {
    case ResidualKind::kNone:
      return false;
    case ResidualKind::kLora:
    case ResidualKind::kKronecker:
      return module.ranks[static_cast<size_t>(depth)] > 0;
    // A diagonal or a magnitude is worth keeping at rank 0, but only where the block is shared.
    case ResidualKind::kLoraDiag:
    case ResidualKind::kDora:
      if (module.ranks[static_cast<size_t>(depth)] > 0) return true;
      [[fallthrough]];
    case ResidualKind::kMulDiag:
      return std::count(module.blocks.begin(), module.blocks.end(),
                        module.blocks[static_cast<size_t>(depth)]) > 1;
  }
  return false;
}

bool SharingPlan::HasResiduals() const {
  return prefix > 0 || !patches.empty() || std::ranges::any_of(modules, [](const ModulePlan& m) {
           return m.residual != ResidualKind::kNone || !m.gains.empty();
         });
}

bool SharingPlan::IsPlain() const {
  return !SharesAnything() && !HasResiduals() && embedding_rank == 0 && ffn_widths.empty() &&
         std::ranges::all_of(modules, [](const ModulePlan& m) {
           return m.factors.empty() && !m.own_bias &&
                  (m.blocks.empty() || m.blocks[0] != kAbsorbed);
         });
}

bool SharingPlan::HasPatch(int depth) const { return std::ranges::binary_search(patches, depth); }

int SharingPlan::FfnWidth(const ModelConfig& config, int depth) const {
  return ffn_widths.empty() ? config.d_ff : ffn_widths[static_cast<size_t>(depth)];
}

Shape SharingPlan::MatrixShape(const ModelConfig& config, Module m, int depth) const {
  Shape shape = config.ModuleShape(m);
  if (m == Module::kGate || m == Module::kUp) shape[0] = FfnWidth(config, depth);
  if (m == Module::kDown) shape[1] = FfnWidth(config, depth);
  return shape;
}

int SharingPlan::FirstUse(Module m, int block) const {
  const std::vector<int>& blocks = (*this)[m].blocks;
  return static_cast<int>(std::ranges::find(blocks, block) - blocks.begin());
}

void SharingPlan::Validate(const ModelConfig& config) const {
  if (depths != config.layers) {
    Fail("depths", std::to_string(depths), "the model's " + std::to_string(config.layers));
  }
  for (const Module m : kAllModules) {
    const ModulePlan& module = (*this)[m];
    const std::string field = "modules." + std::string(Name(m));
    if (!config.HasModule(m)) {
      if (module != ModulePlan{}) Fail(field, "given", "nothing: the model has no such module");
      continue;
    }
    if (module.blocks.empty()) Fail(field, "missing", "the blocks of a module that the model has");
    const bool may_absorb = m == Module::kAttnNorm || m == Module::kFfnNorm;
    ValidateBlocks(field + ".blocks", module, may_absorb, depths);
    if (module.own_bias && (!config.HasBias(m) || module.blocks[0] == kAbsorbed)) {
      Fail(field + ".own_bias", "true", "false: the module has no bias");
    }
    if (IsLinear(m)) {
      ValidateRanks(field + ".rank", module, config.ModuleShape(m), depths);
      ValidateFactors(field + ".factors", module, config.ModuleShape(m));
    } else if (!module.factors.empty() || !module.gains.empty()) {
      Fail(field, "factors or a gain", "none: the module is no linear");
    } else if (module.residual != ResidualKind::kNone || !module.ranks.empty()) {
      Fail(field + ".residual", std::string(Name(module.residual)), "none: norms have no residual");
    }
  }
  ValidateDepthList("gone", gone, depths + static_cast<int>(gone.size()));
  ValidateDepthList("patches", patches, depths);
  ValidateFfnWidths(*this, config);
  if (embedding_rank < 0 || embedding_rank > config.d_model ||
      (embedding_rank > 0 && config.vocab == 0)) {
    Fail("embedding_rank", std::to_string(embedding_rank),
         config.vocab == 0 ? "0: the model has no embedding"
                           : "0 to " + std::to_string(config.d_model));
  }
  if (prefix < 0 || prefix > kMaxPrefix) {
    Fail("prefix", std::to_string(prefix), "0 to " + std::to_string(kMaxPrefix));
  }
  if (exit_gate && FindLoops(*this).loops < 2) {
    Fail("exit_gate", "true", "false: the blocks do not return, there is no loop to leave");
  }
}

SharingPlan IdentityPlan(const ModelConfig& config) {
  SharingPlan plan;
  plan.depths = config.layers;
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    plan[m].blocks.resize(static_cast<size_t>(config.layers));
    std::iota(plan[m].blocks.begin(), plan[m].blocks.end(), 0);
  }
  return plan;
}

std::array<int64_t, 2> KroneckerFactor(int64_t out, int64_t in) {
  return {DivisorNearRoot(out), in / DivisorNearRoot(in)};
}

}  // namespace rondo
