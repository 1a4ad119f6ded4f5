// The numbers of a line of a run's log under one name each.
#pragma once

#include <map>
#include <string>

#include "base/run_log.h"

namespace rondo {

// Those that the line has, by the names that metrics.jsonl gives them, without step, tokens and
// seconds.
std::map<std::string, double> ValuesOf(const RunMetrics& line);

}  // namespace rondo
