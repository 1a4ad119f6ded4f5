// The type in which the engine keeps a tensor.
#pragma once

#include <optional>

#include "rondo/tensor.h"

namespace rondo {

// `wanted`, or without it what the file has: quantised types and bf16 as they are; f16 and the
// types that have no kernel as f32.
inline DType PackedType(const Tensor& tensor, std::optional<DType> wanted) {
  if (wanted) return *wanted;
  const bool has_kernel = tensor.dtype() != DType::kF16 && CanEncode(tensor.dtype());
  return has_kernel ? tensor.dtype() : DType::kF32;
}

}  // namespace rondo
