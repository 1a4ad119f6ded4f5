#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/glob.h"
#include "rondo/error.h"
#include "rondo/quantize.h"

namespace rondo {
namespace {

bool Divides(DType dtype, const Shape& shape) {
  return shape.back() % Info(dtype).block_length == 0;
}

DType Smaller(DType dtype) {
  switch (dtype) {
    case DType::kQ4_K:
      return DType::kQ5_0;
    case DType::kQ5_K:
      return DType::kQ5_1;
    case DType::kQ6_K:
      return DType::kQ8_0;
    default:
      return DType::kF16;
  }
}

DType WantedType(std::string_view name, const QuantizeOptions& options) {
  for (auto rule = options.tensors.rbegin(); rule != options.tensors.rend(); ++rule) {
    if (GlobMatch(rule->pattern, name)) return rule->type;
  }
  if (name == "embed.weight") return options.embedding;
  if (name == "head.weight") return options.head;
  if (name == "positions.weight") return DType::kF32;  // a few rows; llama.cpp wants them so
  return name.starts_with("residual.") ? options.residual : options.type;
}

bool IsMatrix(const TensorSpec& spec) {
  return spec.shape.size() >= 2 && !IsPrefixTensor(spec.name);
}

void CheckRules(const std::vector<TensorTypeRule>& rules, const std::vector<TensorSpec>& specs) {
  for (const TensorTypeRule& rule : rules) {
    const bool used = std::any_of(specs.begin(), specs.end(), [&](const TensorSpec& spec) {
      return IsMatrix(spec) && GlobMatch(rule.pattern, spec.name);
    });
    if (used) continue;
    throw Error({.function = "ChooseTypes",
                 .problem = "pattern '" + rule.pattern + "' matches no matrix of the model",
                 .expected = "a pattern of whole names, such as blocks.*.down.weight",
                 .file = {},
                 .field = "tensor_type"});
  }
}

}  // namespace

void TypeChoice::Add(const std::string& tensor, const Shape& shape, DType wanted) {
  DType used = wanted;
  while (!Divides(used, shape)) used = Smaller(used);
  types[tensor] = used;
  if (used != wanted) fallbacks.push_back({tensor, wanted, used});
}

TypeChoice ChooseTypes(const Model& model, const QuantizeOptions& options) {
  const std::vector<TensorSpec> specs = ExpectedTensors(model.config, model.plan);
  CheckRules(options.tensors, specs);
  TypeChoice choice;
  for (const TensorSpec& spec : specs) {
    if (IsMatrix(spec)) {
      choice.Add(spec.name, spec.shape, WantedType(spec.name, options));
    } else {
      choice.types[spec.name] = DType::kF32;
    }
  }
  return choice;
}

bool NeedsNativeGguf(const TensorTypes& types) {
  return std::any_of(types.begin(), types.end(),
                     [](const auto& entry) { return OnlyRondoReads(entry.second); });
}

}  // namespace rondo
