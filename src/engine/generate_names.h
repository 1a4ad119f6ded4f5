// The names of the choices in rondo/generate.h.
#pragma once

#include "base/choice.h"
#include "rondo/generate.h"

namespace rondo {

template <>
inline constexpr auto kChoices<ExitRule> = Choices("never", "confidence", "entropy",
                                                   "hidden-change", "gate", "trace");
template <>
inline constexpr auto kChoices<SkippedKv> = Choices("deferred", "copy-through", "last-loop");

}  // namespace rondo
