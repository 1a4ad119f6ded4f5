// The names of the kinds of residuals.
#pragma once

#include "base/choice.h"
#include "rondo/sharing_plan.h"

namespace rondo {

template <>
inline constexpr auto kChoices<ResidualKind> = Choices("none", "lora", "lora-diag", "dora",
                                                       "muldiag", "kronecker");

}  // namespace rondo
