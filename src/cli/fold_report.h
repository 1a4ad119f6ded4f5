// What a fold took and made, in bytes, and what its user should know.
#pragma once

#include "cli/options.h"
#include "cli/output.h"
#include "rondo/model.h"

namespace rondo::cli {

// After saving: adds the bytes of the weight files written and read, and warns on standard error if
// the result is larger than its source, has more parameters than sharing saves, or was not fitted.
// Of a speech model `folded` is the encoder.
void AddFoldBytes(const Model& folded, const FoldCommandOptions& options, Output* out);

}  // namespace rondo::cli
