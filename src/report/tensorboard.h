// Training runs for TensorBoard.
#pragma once

#include <string>
#include <vector>

#include "report/run_data.h"

namespace rondo {

// Writes DIRECTORY/<run>/events.out.tfevents.rondo for every run, in place of one that is there:
// every number of the logs as a scalar under its name in metrics.jsonl, every event with a text as
// a text. A line's time is that of the log's last change less what the run trained afterwards.
void WriteTensorBoard(const std::vector<RunData>& runs, const std::string& directory);

}  // namespace rondo
