// The records of a task, found in a folder and read.
#pragma once

#include <string>
#include <vector>

#include "eval/task_spec.h"

namespace rondo {

// The file in `folder`, or in a folder of the task's name there, that holds a split:
// NAME_SPLIT.jsonl or NAME_SPLIT_anything.jsonl, plain or .xz, in any case and with either dash;
// "dev", "val" and "valid" mean validation. Throws unless there is exactly one.
std::string FindTaskFile(const std::string& folder, const TaskSpec& task, TaskSplit split);

// All records of a JSON Lines file, plain or packed with xz. Where a file beside it has the same
// name and ends with "labels.lst", it holds the answers, one a line (PIQA). Throws naming file,
// line and field.
std::vector<TaskRecord> ReadTaskFile(const std::string& path, const TaskSpec& task);

}  // namespace rondo
