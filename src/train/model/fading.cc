#include "train/model/fading.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "rondo/error.h"

namespace rondo {
namespace {

// The rows of one linear in the teacher's merged matrices.
at::Tensor ModuleOf(const LayerTensors& layer, const ModelConfig& config, Module m) {
  const int64_t q = int64_t{config.heads} * config.head_dim;
  const int64_t kv = int64_t{config.kv_heads} * config.head_dim;
  switch (m) {
    case Module::kQ:
      return layer.qkv.narrow(0, 0, q);
    case Module::kK:
      return layer.qkv.narrow(0, q, kv);
    case Module::kV:
      return layer.qkv.narrow(0, q + kv, kv);
    case Module::kO:
      return layer.o;
    case Module::kGate:
      return layer.up.narrow(0, 0, config.d_ff);
    case Module::kUp:
      return layer.up.narrow(0, config.gated_ffn ? config.d_ff : 0, config.d_ff);
    default:
      return layer.down;
  }
}

double At(const std::vector<double>& shares, int depth) {
  return shares[static_cast<size_t>(depth)];
}

}  // namespace

FadingRest MakeFadingRest(const Model& start, const Teacher& teacher) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = start.config;
  const ModelConfig& other = teacher.config();
  if (config.layers != other.layers || config.d_model != other.d_model ||
      config.d_ff != other.d_ff || config.heads != other.heads ||
      config.kv_heads != other.kv_heads || config.head_dim != other.head_dim ||
      config.gated_ffn != other.gated_ffn) {
    throw Error({.function = "MakeFadingRest",
                 .problem = "the teacher's layers have other shapes than the model's",
                 .expected = "the model that was folded",
                 .field = "teacher"});
  }
  FadingRest fading;
  fading.weight.assign(static_cast<size_t>(config.layers), 1.0);
  const Params params = Params::Frozen(start, teacher.device());
  for (int depth = 0; depth < config.layers; ++depth) {
    for (const Module m : kAllModules) {
      if (!IsLinear(m) || !config.HasModule(m)) continue;
      const at::Tensor mine = MergeLinear(params, start.plan, m, depth);
      fading.rest[{depth, m}] = ModuleOf(teacher.layer(depth), config, m) - mine;
    }
  }
  return fading;
}

Fading::Fading(FadingRest rest, FadeBy by)
    : rest_(std::move(rest)), by_(by), shares_(rest_.weight.size(), 1.0) {
  if (by == FadeBy::kScale) return;
  const at::NoGradGuard no_grad;
  for (const auto& [key, matrix] : rest_.rest) {
    const auto [u, values, v] = at::linalg_svd(matrix, /*full_matrices=*/false);
    factors_[key] = {.scaled_u = u * values, .v = v, .kept = values.size(0)};
  }
}

bool Fading::ended() const {
  return std::ranges::all_of(shares_, [](double share) { return share == 0; });
}

void Fading::Set(const std::vector<double>& shares) {
  shares_ = shares;
  if (by_ == FadeBy::kScale) {
    rest_.weight = shares;
    return;
  }
  for (auto& [key, factors] : factors_) {
    const auto rank = static_cast<double>(factors.v.size(0));
    Keep(key, factors, static_cast<int64_t>(std::ceil(At(shares, key.first) * rank)));
  }
  for (size_t depth = 0; depth < shares.size(); ++depth) rest_.weight[depth] = shares[depth] > 0;
}

// Always from the factors, so that a resumed run has the same bits.
void Fading::Keep(const Key& key, Factors& factors, int64_t count) {
  if (count == factors.kept) return;
  const at::NoGradGuard no_grad;
  factors.kept = count;
  rest_.rest[key] = factors.scaled_u.narrow(1, 0, count).mm(factors.v.narrow(0, 0, count));
}

std::vector<int> TiedGroups(const SharingPlan& plan) {
  // Depths belong together when they share the linear with the fewest blocks.
  const ModulePlan* fewest = nullptr;
  for (const Module m : kAllModules) {
    const ModulePlan& module = plan[m];
    if (!IsLinear(m) || module.blocks.empty()) continue;
    if (fewest == nullptr || module.BlockCount() < fewest->BlockCount()) fewest = &module;
  }
  std::vector<int> groups;
  std::map<int, int> numbers;
  for (const int block : fewest->blocks) {
    groups.push_back(numbers.emplace(block, static_cast<int>(numbers.size())).first->second);
  }
  return groups;
}

}  // namespace rondo
