// From the text of plan flags to fold options and a plan.
#pragma once

#include <string>

#include "cli/options.h"
#include "rondo/fold.h"

namespace rondo::cli {

// Throws rondo::Error naming the flag and its value.
FoldOptions ParseFoldOptions(const PlanFlags& flags);

// The plan that the flags describe: from --plan FILE if given, else from the orders and ranks. FILE
// is a whole plan in JSON, or tie maps in text (TieOrdersFromText), which take the other flags.
SharingPlan PlanFromFlags(const PlanFlags& flags, const FoldOptions& options,
                          const ModelConfig& config);

}  // namespace rondo::cli
