// A sharing plan as text for the terminal, at most 100 columns wide.
#pragma once

#include <string>

#include "rondo/model_config.h"
#include "rondo/sharing_plan.h"

namespace rondo {

// A grid (depths across, wrapped; the block each group of modules uses and which time it runs
// there), a line a module with its residual and parameters, the totals, and notes on uneven
// divisions. Groups whose modules agree are one row. `color` paints shared blocks with ANSI
// escapes. The plan must fit the configuration; no weights are needed.
std::string DrawPlan(const ModelConfig& config, const SharingPlan& plan, bool color = false);

}  // namespace rondo
