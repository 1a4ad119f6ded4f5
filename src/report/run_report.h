// Training runs side by side as one page.
#pragma once

#include <string>
#include <vector>

#include "report/run_data.h"

namespace rondo {

// A self-contained HTML page without scripts: final figures, differing recipe keys, curves of every
// metric over steps, tokens and minutes, samples and other events. Dense curves are thinned to
// means of neighbouring lines. All text of the runs is escaped.
std::string RunReportHtml(const std::vector<RunData>& runs);

}  // namespace rondo
