#include <string>
#include <string_view>

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
  if (name == "embed.weight") return options.embedding;
  if (name == "head.weight") return options.head;
  if (name == "positions.weight") return DType::kF32;  // a few rows; llama.cpp wants them so
  return name.starts_with("residual.") ? options.residual : options.type;
}

}  // namespace

void TypeChoice::Add(const std::string& tensor, const Shape& shape, DType wanted) {
  DType used = wanted;
  while (!Divides(used, shape)) used = Smaller(used);
  types[tensor] = used;
  if (used != wanted) fallbacks.push_back({tensor, wanted, used});
}

TypeChoice ChooseTypes(const Model& model, const QuantizeOptions& options) {
  TypeChoice choice;
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    if (spec.shape.size() < 2 || IsPrefixTensor(spec.name)) {
      choice.types[spec.name] = DType::kF32;
    } else {
      choice.Add(spec.name, spec.shape, WantedType(spec.name, options));
    }
  }
  return choice;
}

}  // namespace rondo
