// The names of the choices in rondo/fold.h.
#pragma once

#include "base/choice.h"
#include "model/residual_names.h"
#include "rondo/fold.h"

namespace rondo {

template <>
inline constexpr auto kChoices<NormPolicy> = Choices("own", "absorbed", "tied");
template <>
inline constexpr auto kChoices<InitKind> = Choices("stepwise", "average", "lower", "upper",
                                                   "random");
template <>
inline constexpr auto kChoices<ResidualStart> = Choices("fit", "zero");

}  // namespace rondo
