// The names of the types of keys and values.
#pragma once

#include "base/choice.h"
#include "rondo/kv_type.h"

namespace rondo {

template <>
inline constexpr auto kChoices<KvType> = Choices("f32", "bf16", "int8");

}  // namespace rondo
