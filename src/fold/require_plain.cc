#include "fold/require_plain.h"

#include <utility>

#include "rondo/error.h"

namespace rondo {
namespace {

bool IsPlain(const ModulePlan& module) {
  if (module.residual != ResidualKind::kNone || module.own_bias || !module.factors.empty() ||
      !module.gains.empty()) {
    return false;
  }
  for (size_t d = 0; d < module.blocks.size(); ++d) {
    if (module.blocks[d] != static_cast<int>(d)) return false;
  }
  return true;
}

}  // namespace

void RequirePlain(const Model& model, const char* function) {
  const auto refuse = [&](std::string problem, std::string expected, std::string field) {
    throw Error({.function = function,
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = model.path,
                 .field = std::move(field)});
  };
  if (model.plan.prefix > 0) refuse("the model has prefix vectors", "a plain model", "prefix");
  if (!model.plan.patches.empty())
    refuse("the model has linear patches", "a plain model", "patches");
  const bool narrowed = !model.plan.ffn_widths.empty() || model.plan.embedding_rank > 0;
  for (const ModulePlan& module : model.plan.modules) {
    if (!narrowed && IsPlain(module)) continue;
    refuse("the model is folded already (" + model.plan.order + ")",
           "a plain model; unroll this one first: rondo export " + model.path +
               " --format hf --out DIR",
           {});
  }
}

}  // namespace rondo
