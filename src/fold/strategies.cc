// Sharing plans from options: tie orders, norm and bias policies, ranks.
#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "base/strings.h"
#include "fold/absorb.h"
#include "rondo/error.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

const std::vector<std::string> kOrders = {"identity",     "cycle",           "sequence",
                                          "middle-cycle", "middle-sequence", "custom"};

[[noreturn]] void Fail(const char* function, const std::string& field, std::string problem,
                       std::string expected) {
  throw Error({.function = function,
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = field});
}

void RequireOption(bool ok, const char* field, int got, const std::string& expected) {
  if (!ok) Fail("TieMap", field, std::to_string(got), expected);
}

std::vector<int> CustomMap(const std::vector<int>& labels, int depths) {
  if (labels.size() != static_cast<size_t>(depths)) {
    Fail("TieMap", "blocks", std::to_string(labels.size()) + " entries",
         "one per depth, " + std::to_string(depths));
  }
  std::map<int, int> ids;
  std::vector<int> blocks;
  for (const int label : labels) {
    RequireOption(label >= 0, "blocks", label, "0 or more");
    blocks.push_back(ids.emplace(label, static_cast<int>(ids.size())).first->second);
  }
  return blocks;
}

// Which residual ranks a matrix [out, in] can have.
int64_t RankLimit(ResidualKind kind, const Shape& shape) {
  if (kind != ResidualKind::kKronecker) return std::min(shape[0], shape[1]);
  const auto [out_a, in_a] = KroneckerFactor(shape[0], shape[1]);
  return std::min(out_a * in_a, shape[0] / out_a * (shape[1] / in_a));
}

bool CountsRank(ResidualKind kind) {
  return kind != ResidualKind::kNone && kind != ResidualKind::kMulDiag;
}

void CheckRanks(const ModelConfig& config, const FoldOptions& options) {
  if (options.rank < 0) Fail("MakePlan", "rank", std::to_string(options.rank), "0 or more");
  for (const auto& [module, rank] : options.module_ranks) {
    const std::string field = "rank " + std::string(Name(module));
    if (rank < 0) Fail("MakePlan", field, std::to_string(rank), "0 or more");
    if (!IsLinear(module)) Fail("MakePlan", field, "a norm", "a linear; norms have no residual");
    if (!config.HasModule(module)) {
      Fail("MakePlan", field, "no such module in this model", "modules that the model has");
    }
  }
}

std::vector<int> Ranks(const std::vector<int>& blocks, int rank) {
  std::vector<int> ranks;
  for (const int block : blocks) {
    ranks.push_back(std::count(blocks.begin(), blocks.end(), block) > 1 ? rank : 0);
  }
  return ranks;
}

ModulePlan LinearPlan(const ModelConfig& config, const FoldOptions& options, Module m,
                      std::vector<int> blocks) {
  ModulePlan module;
  module.blocks = std::move(blocks);
  const bool shared = module.BlockCount() < config.layers;
  module.own_bias = shared && config.HasBias(m) && !options.tie_biases;
  if (!shared) return module;
  module.residual = options.residual;
  if (!CountsRank(options.residual)) return module;
  const auto own = options.module_ranks.find(m);
  const int rank = own == options.module_ranks.end() ? options.rank : own->second;
  const int64_t limit = RankLimit(options.residual, config.ModuleShape(m));
  module.ranks = Ranks(module.blocks, static_cast<int>(std::min<int64_t>(rank, limit)));
  return module;
}

std::vector<int> NormMap(const FoldOptions& options, Module m, int depths) {
  const bool absorbable = m == Module::kAttnNorm || m == Module::kFfnNorm;
  if (options.norms == NormPolicy::kTied) {
    return TieMap(options.order[static_cast<size_t>(ModuleGroup::kNorms)], depths);
  }
  if (options.norms == NormPolicy::kAbsorb && absorbable) {
    return std::vector<int>(static_cast<size_t>(depths), kAbsorbed);
  }
  return TieMap({.order = "identity"}, depths);
}

// What people read: the common order, or both. Loops are how often the busiest block runs.
void Describe(const FoldOptions& options, SharingPlan& plan) {
  const TieOrder& attention = options.order[static_cast<size_t>(ModuleGroup::kAttention)];
  const TieOrder& ffn = options.order[static_cast<size_t>(ModuleGroup::kFfn)];
  plan.order = attention.order == ffn.order ? attention.order
                                            : "attention " + attention.order + ", ffn " + ffn.order;
  for (const Module m : {Module::kQ, Module::kUp}) {
    for (const int block : plan[m].blocks) {
      const auto uses = std::count(plan[m].blocks.begin(), plan[m].blocks.end(), block);
      plan.loops = std::max(plan.loops, static_cast<int>(uses));
    }
  }
}

}  // namespace

std::vector<int> TieMap(const TieOrder& order, int depths) {
  if (std::find(kOrders.begin(), kOrders.end(), order.order) == kOrders.end()) {
    Fail("TieMap", "order", "unknown order '" + order.order + "'",
         UnknownNameHint(order.order, kOrders));
  }
  if (order.order == "custom") return CustomMap(order.blocks, depths);
  std::vector<int> blocks(static_cast<size_t>(depths));
  std::iota(blocks.begin(), blocks.end(), 0);
  if (order.order == "identity") return blocks;

  const bool middle = order.order.starts_with("middle-");
  const int first = middle ? order.keep_first : 0, last = middle ? order.keep_last : 0;
  RequireOption(first >= 0, "keep_first", first, "0 or more");
  RequireOption(last >= 0, "keep_last", last, "0 or more");
  RequireOption(first < depths && last < depths - first, "keep_first", first,
                "together with keep_last (" + std::to_string(last) + ") fewer than the " +
                    std::to_string(depths) + " layers");
  const int tied = depths - first - last;
  RequireOption(order.loops >= 1 && order.loops <= tied, "loops", order.loops,
                "1 to the number of tied layers, " + std::to_string(tied));
  const int unique = (tied + order.loops - 1) / order.loops;
  const bool cycle = order.order.ends_with("cycle");
  for (int d = 0; d < depths; ++d) {
    const int i = d - first;
    int& block = blocks[static_cast<size_t>(d)];
    if (i >= 0 && i < tied) block = first + (cycle ? i % unique : i / order.loops);
    if (i >= tied) block = first + unique + (i - tied);
  }
  return blocks;
}

SharingPlan MakePlan(const ModelConfig& config, const FoldOptions& options) {
  CheckRanks(config, options);
  SharingPlan plan = IdentityPlan(config);
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    if (IsLinear(m)) {
      const TieOrder& order = options.order[static_cast<size_t>(GroupOf(m))];
      plan[m] = LinearPlan(config, options, m, TieMap(order, config.layers));
    } else {
      plan[m].blocks = NormMap(options, m, config.layers);
    }
  }
  plan.prefix = options.prefix;
  Describe(options, plan);
  CheckAbsorption(config, plan);
  plan.Validate(config);
  return plan;
}

}  // namespace rondo
