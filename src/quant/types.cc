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

DType TypeFor(DType wanted, const Shape& shape) {
  while (!Divides(wanted, shape)) wanted = Smaller(wanted);
  return wanted;
}

TypeChoice ChooseTypes(const Model& model, const QuantizeOptions& options) {
  TypeChoice choice;
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    if (spec.shape.size() < 2 || IsPrefixTensor(spec.name)) {
      choice.types[spec.name] = DType::kF32;
      continue;
    }
    const DType wanted = WantedType(spec.name, options);
    const DType used = TypeFor(wanted, spec.shape);
    choice.types[spec.name] = used;
    if (used != wanted) choice.fallbacks.push_back({spec.name, wanted, used});
  }
  return choice;
}

}  // namespace rondo
