// The names of the kinds of residuals and gains.
#pragma once

#include "base/choice.h"
#include "rondo/sharing_plan.h"

namespace rondo {

template <>
inline constexpr auto kChoices<ResidualKind> = Choices("none", "lora", "lora-diag", "dora",
                                                       "muldiag", "kronecker");

template <>
inline constexpr auto kChoices<GainKind> = Choices("none", "scalar", "vector");

}  // namespace rondo
