// The curves of a run report.
#pragma once

#include <string>
#include <vector>

#include "report/run_data.h"

namespace rondo {

// What curves run over.
enum class RunAxis { kSteps, kTokens, kMinutes };

// One SVG for each metric that any of the runs has.
std::vector<std::string> RunCurves(const std::vector<RunData>& runs, RunAxis axis);

}  // namespace rondo
