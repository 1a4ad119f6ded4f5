// The logs of training runs as one table.
#pragma once

#include <string>
#include <vector>

#include "report/run_data.h"

namespace rondo {

// CSV as RFC 4180 says, but with "\n" as line ends: a row for each line of the logs, with the run's
// name, and a column for each value that any line has. Absent values are empty. pandas.read_csv
// reads it.
std::string RunsCsv(const std::vector<RunData>& runs);

}  // namespace rondo
