// Rules of types for single tensors as values of options: "blocks.*.down.weight=q4_0".
#pragma once

#include <string>
#include <string_view>

#include "base/options.h"
#include "rondo/quantize.h"

namespace rondo {

bool FromText(std::string_view text, TensorTypeRule& value);
std::string ToText(const TensorTypeRule& value);
template <>
inline std::string TypeText<TensorTypeRule>() {
  return "a pattern of tensor names and a type, such as blocks.*.down.weight=q4_0";
}

}  // namespace rondo
