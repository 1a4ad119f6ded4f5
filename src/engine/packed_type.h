// The type in which the engine keeps a tensor.
#pragma once

#include <optional>

#include "rondo/tensor.h"

namespace rondo {

// `wanted`, or without it what the file has: quantised types and bf16 as they are, f16 as f32.
inline DType PackedType(const Tensor& tensor, std::optional<DType> wanted) {
  if (wanted) return *wanted;
  return tensor.dtype() == DType::kF16 ? DType::kF32 : tensor.dtype();
}

}  // namespace rondo
