#include "rondo/weights.h"

#include <algorithm>
#include <utility>

#include "model/residual_start.h"
#include "rondo/error.h"

namespace rondo {
namespace {

void AddModuleSpecs(const ModelConfig& config, const SharingPlan& plan, Module m,
                    std::vector<TensorSpec>* specs) {
  const ModulePlan& module = plan[m];
  const Shape shape = config.ModuleShape(m);
  for (int block = 0; block < module.BlockCount(); ++block) {
    specs->push_back({BlockTensor(block, m), shape});
    if (config.HasBias(m) && !module.own_bias) {
      specs->push_back({BlockTensor(block, m, "bias"), {shape[0]}});
    }
  }
  for (int depth = 0; depth < plan.depths; ++depth) {
    if (IsLinear(m)) {
      for (TensorSpec& spec : ResidualSpecs(config, plan, m, depth)) {
        specs->push_back(std::move(spec));
      }
    }
    if (module.own_bias) specs->push_back({ResidualTensor(depth, m, "bias"), {shape[0]}});
  }
}

}  // namespace

std::vector<TensorSpec> ResidualSpecs(const ModelConfig& config, const SharingPlan& plan, Module m,
                                      int depth) {
  std::vector<TensorSpec> specs;
  if (!plan.HasResidual(m, depth)) return specs;
  const ModulePlan& module = plan[m];
  const Shape shape = config.ModuleShape(m);
  const int64_t out = shape[0], in = shape[1];
  const int64_t rank = module.ranks.empty() ? 0 : module.ranks[static_cast<size_t>(depth)];
  const auto add = [&](std::string_view part, Shape s) {
    specs.push_back({ResidualTensor(depth, m, part), std::move(s)});
  };
  switch (module.residual) {
    case ResidualKind::kNone:
      break;
    case ResidualKind::kLora:
    case ResidualKind::kLoraDiag:
    case ResidualKind::kDora:
      if (rank > 0) {
        add("a", {rank, in});
        add("b", {out, rank});
      }
      if (module.residual == ResidualKind::kLoraDiag) add("diag", {std::min(in, out)});
      if (module.residual == ResidualKind::kDora) add("magnitude", {out});
      break;
    case ResidualKind::kMulDiag:
      add("scale", {in});
      break;
    case ResidualKind::kKronecker: {
      const auto [out_a, in_a] = KroneckerFactor(out, in);
      add("a", {rank, out_a, in_a});
      add("b", {rank, out / out_a, in / in_a});
      break;
    }
  }
  return specs;
}

std::string BlockTensor(int block, Module module, std::string_view part) {
  return "blocks." + std::to_string(block) + "." + std::string(Name(module)) + "." +
         std::string(part);
}

std::string ResidualTensor(int depth, Module module, std::string_view part) {
  return "residual." + std::to_string(depth) + "." + std::string(Name(module)) + "." +
         std::string(part);
}

std::string PrefixTensor(int depth, std::string_view part) {
  return "residual." + std::to_string(depth) + ".prefix." + std::string(part);
}

bool IsPrefixTensor(std::string_view name) { return name.find(".prefix.") != name.npos; }

std::string ExitGateTensor(int loop, std::string_view part) {
  return "exit_gate." + std::to_string(loop) + "." + std::string(part);
}

bool BelongsToPlan(std::string_view name) {
  return name.starts_with("blocks.") || name.starts_with("residual.") ||
         name.starts_with("exit_gate.");
}

const Tensor& Weights::Get(std::string_view name) const {
  if (const Tensor* tensor = Find(name)) return *tensor;
  throw Error({.function = "Weights::Get",
               .problem = "missing tensor",
               .expected = {},
               .file = {},
               .field = std::string(name)});
}

const Tensor* Weights::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void Weights::Erase(std::string_view name) {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) tensors_.erase(found);
}

uint64_t Weights::bytes() const {
  uint64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor.bytes().size();
  return total;
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config, const SharingPlan& plan) {
  const int64_t d = config.d_model;
  std::vector<TensorSpec> specs;
  if (config.vocab > 0) specs.push_back({"embed.weight", {config.vocab, d}});
  if (config.positions == PositionKind::kLearned) {
    specs.push_back({"positions.weight", {config.max_positions, d}});
  }
  for (const Module m : kAllModules) {
    if (config.HasModule(m)) AddModuleSpecs(config, plan, m, &specs);
  }
  for (int depth = 0; plan.prefix > 0 && depth < plan.depths; ++depth) {
    const Shape shape = {plan.prefix, int64_t{config.kv_heads} * config.head_dim};
    for (const char* part : {"k", "v"}) specs.push_back({PrefixTensor(depth, part), shape});
  }
  const int gates = plan.exit_gate ? FindLoops(plan).loops - 1 : 0;
  for (int loop = 0; loop < gates; ++loop) {
    specs.push_back({ExitGateTensor(loop, "weight"), {d}});
    specs.push_back({ExitGateTensor(loop, "bias"), {1}});
  }
  specs.push_back({"final_norm.weight", {d}});
  if (config.norm == NormKind::kLayer) specs.push_back({"final_norm.bias", {d}});
  if (config.vocab > 0 && !config.tied_embeddings) {
    specs.push_back({"head.weight", {config.vocab, d}});
  }
  if (config.head_bias) specs.push_back({"head.bias", {config.vocab}});
  return specs;
}

void CheckWeights(const ModelConfig& config, const SharingPlan& plan, const Weights& weights,
                  const std::string& file) {
  const auto fail = [&](const std::string& field, std::string problem, std::string expected) {
    throw Error({.function = "CheckWeights",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file,
                 .field = field});
  };
  const std::vector<TensorSpec> specs = ExpectedTensors(config, plan);
  for (const TensorSpec& spec : specs) {
    const Tensor* tensor = weights.Find(spec.name);
    if (tensor == nullptr) fail(spec.name, "missing tensor", "shape " + ToString(spec.shape));
    if (tensor->shape() != spec.shape) {
      fail(spec.name, "shape " + ToString(tensor->shape()), ToString(spec.shape));
    }
  }
  if (weights.size() == specs.size()) return;
  std::vector<std::string> names;
  for (const TensorSpec& spec : specs) names.push_back(spec.name);
  std::sort(names.begin(), names.end());
  for (const auto& [name, tensor] : weights) {
    if (!std::binary_search(names.begin(), names.end(), name)) {
      fail(name, "tensor that this model does not use", "only the tensors of its configuration");
    }
  }
}

ParameterCount CountParameters(const ModelConfig& config, const SharingPlan& plan) {
  ParameterCount count;
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    const int64_t elements = ElementCount(spec.shape);
    if (spec.name.starts_with("residual.") || spec.name.starts_with("exit_gate.")) {
      count.residual += elements;
    } else if (spec.name.starts_with("blocks.") || spec.name.starts_with("final_norm.")) {
      count.shared += elements;
    } else {
      count.embedding += elements;
    }
  }
  for (const TensorSpec& spec : ExpectedTensors(config, IdentityPlan(config))) {
    if (spec.name.starts_with("blocks.") || spec.name.starts_with("final_norm.")) {
      count.logical += ElementCount(spec.shape);
    }
  }
  return count;
}

}  // namespace rondo
