// The names of the choices in token_data.h.
#pragma once

#include "base/choice.h"
#include "corpus/token_data.h"

namespace rondo {

template <>
inline constexpr auto kChoices<DocumentUnit> = Choices("paragraph", "heading", "line", "file");
template <>
inline constexpr auto kChoices<RowKind> = Choices("packed", "within-document", "document-start");

}  // namespace rondo
