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
  for (int block = 0; block < module.BlockCount(); ++block) {
    const Shape shape = plan.MatrixShape(config, m, plan.FirstUse(m, block));
    if (const int64_t rank = module.FactorRank(block); rank > 0) {
      specs->push_back({BlockTensor(block, m, "a"), {rank, shape[1]}});
      specs->push_back({BlockTensor(block, m, "b"), {shape[0], rank}});
    } else {
      specs->push_back({BlockTensor(block, m), shape});
    }
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
    const int64_t out = plan.MatrixShape(config, m, depth)[0];
    if (module.own_bias) specs->push_back({ResidualTensor(depth, m, "bias"), {out}});
  }
}

}  // namespace

std::vector<TensorSpec> ResidualSpecs(const ModelConfig& config, const SharingPlan& plan, Module m,
                                      int depth) {
  std::vector<TensorSpec> specs;
  const ModulePlan& module = plan[m];
  const Shape shape = plan.MatrixShape(config, m, depth);
  const int64_t out = shape[0], in = shape[1];
  if (const GainKind gain = module.Gain(depth); gain != GainKind::kNone) {
    specs.push_back({ResidualTensor(depth, m, "gain"), {gain == GainKind::kScalar ? 1 : out}});
  }
  if (!plan.HasResidual(m, depth)) return specs;
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

std::string PatchTensor(int depth) { return "patch." + std::to_string(depth) + ".weight"; }

bool IsPrefixTensor(std::string_view name) { return name.find(".prefix.") != name.npos; }

std::string ExitGateTensor(int loop, std::string_view part) {
  return "exit_gate." + std::to_string(loop) + "." + std::string(part);
}

bool BelongsToPlan(std::string_view name) {
  return name.starts_with("blocks.") || name.starts_with("residual.") ||
         name.starts_with("exit_gate.") || name.starts_with("patch.");
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

Tensor BlockMatrix(const Weights& weights, const SharingPlan& plan, Module module, int block) {
  const int rank = plan[module].FactorRank(block);
  if (rank == 0) return weights.Get(BlockTensor(block, module));
  const Tensor& first = weights.Get(BlockTensor(block, module, "a"));
  const std::vector<float> a = ToF32(first),
                           b = ToF32(weights.Get(BlockTensor(block, module, "b")));
  const auto in = static_cast<size_t>(first.cols());
  const size_t out = b.size() / static_cast<size_t>(rank);
  std::vector<float> product(out * in);
  for (size_t o = 0; o < out; ++o) {
    float* row = product.data() + o * in;
    for (size_t r = 0; r < static_cast<size_t>(rank); ++r) {
      const float factor = b[o * static_cast<size_t>(rank) + r];
      for (size_t i = 0; i < in; ++i) row[i] += factor * a[r * in + i];
    }
  }
  return Tensor::FromF32({static_cast<int64_t>(out), static_cast<int64_t>(in)}, std::move(product));
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config, const SharingPlan& plan) {
  const int64_t d = config.d_model;
  std::vector<TensorSpec> specs;
  if (config.vocab > 0) {
    const int64_t rank = plan.embedding_rank;
    specs.push_back({"embed.weight", {config.vocab, rank > 0 ? rank : d}});
    if (rank > 0) specs.push_back({"embed_projection.weight", {d, rank}});
  }
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
  for (const int depth : plan.patches) specs.push_back({PatchTensor(depth), {d, d}});
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
    if (spec.name.starts_with("residual.") || spec.name.starts_with("exit_gate.") ||
        spec.name.starts_with("patch.")) {
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
