// From the text of plan flags to fold options and a plan.
#pragma once

#include <string>

#include "cli/options.h"
#include "rondo/fold.h"

namespace rondo::cli {

// For a model of that configuration: a group's rank is that of the linears which the model has.
// Throws rondo::Error naming the flag and its value.
FoldOptions ParseFoldOptions(const PlanFlags& flags, const ModelConfig& config);

// Whether a file holds a plan in JSON or is a model with one, which says all by itself.
bool IsWholePlan(const std::string& file);

// The plan that the flags describe: from --plan FILE if given, else from the orders and ranks. FILE
// is a whole plan in JSON, a folded model, or tie maps in text (TieOrdersFromText), which take the
// other flags.
SharingPlan PlanFromFlags(const PlanFlags& flags, const FoldOptions& options,
                          const ModelConfig& config);

}  // namespace rondo::cli
