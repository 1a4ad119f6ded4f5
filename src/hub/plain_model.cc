#include "hub/plain_model.h"

#include <string>

#include "rondo/error.h"

namespace rondo {
namespace {

void RequireUnshared(const SharingPlan& plan, Module m) {
  const ModulePlan& module = plan[m];
  const auto fail = [&](std::string problem) {
    throw Error({.function = "PlainModel",
                 .problem = std::move(problem),
                 .expected = "an unrolled model",
                 .field = "modules." + std::string(Name(m))});
  };
  for (int depth = 0; depth < plan.depths; ++depth) {
    const int block = module.blocks[static_cast<size_t>(depth)];
    if (block != kAbsorbed && block != depth) {
      fail("depth " + std::to_string(depth) + " uses block " + std::to_string(block));
    }
    if (plan.HasResidual(m, depth)) fail("depth " + std::to_string(depth) + " has a residual");
  }
}

Tensor Constant(const Shape& shape, float value) {
  return Tensor::FromF32(shape, std::vector<float>(static_cast<size_t>(shape[0]), value));
}

}  // namespace

Model PlainModel(const Model& model) {
  if (model.plan.prefix > 0) {
    throw Error({.function = "PlainModel",
                 .problem = std::to_string(model.plan.prefix) + " prefix vectors at every depth",
                 .expected = "a model without them: other programs have no place for trained keys "
                             "and values",
                 .field = "prefix"});
  }
  Model plain = model;
  plain.plan = IdentityPlan(model.config);
  for (const Module m : kAllModules) {
    if (!model.config.HasModule(m)) continue;
    RequireUnshared(model.plan, m);
    const bool absorbed = model.plan[m].blocks[0] == kAbsorbed;
    const Shape shape = model.config.ModuleShape(m);
    for (int depth = 0; depth < model.plan.depths; ++depth) {
      const std::string bias = BlockTensor(depth, m, "bias");
      if (absorbed) {
        plain.weights.Set(BlockTensor(depth, m), Constant(shape, 1));
        if (model.config.HasBias(m)) plain.weights.Set(bias, Constant(shape, 0));
      } else if (model.plan[m].own_bias) {
        const std::string own = ResidualTensor(depth, m, "bias");
        plain.weights.Set(bias, model.weights.Get(own));
        plain.weights.Erase(own);
      }
    }
  }
  CheckWeights(plain.config, plain.plan, plain.weights, plain.path);
  return plain;
}

}  // namespace rondo
