#include "quant/type_rules.h"

#include "tensor/dtype_names.h"

namespace rondo {

bool FromText(std::string_view text, TensorTypeRule& value) {
  const size_t equals = text.rfind('=');
  if (equals == text.npos || equals == 0) return false;
  value.pattern = text.substr(0, equals);
  return FromText(text.substr(equals + 1), value.type);
}

std::string ToText(const TensorTypeRule& value) { return value.pattern + "=" + ToText(value.type); }

}  // namespace rondo
