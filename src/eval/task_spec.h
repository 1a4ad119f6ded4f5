// The tasks there are: what they are called, where their records lie, how they are scored.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/task_record.h"

namespace rondo {

enum class TaskSplit { kTrain, kValidation, kTest };

std::string_view Name(TaskSplit split);  // train, validation, test

struct TaskSpec {
  std::string_view name;                // in lm-evaluation-harness
  std::vector<std::string_view> files;  // what names of its files begin with; the first is usual
  TaskSplit evaluated;
  TaskSplit shots;  // where worked examples are drawn from
  // Whether one example more than needed is drawn and the evaluated one left out. The harness does
  // so when its settings name the same split for both, or, as here, neither.
  bool draws_one_more;
  bool ranks_choices;  // otherwise the only continuation counts as right when it is the greedy one
  bool normalises;     // has accuracies by likelihood per character and per byte
  RecordReader read;
};

std::span<const TaskSpec> AllTaskSpecs();

struct TaskChoice {
  const TaskSpec* spec;
  TaskSplit split;
  bool draws_one_more;
};

// "piqa", or "arc_easy:train" for another split than the usual. Throws naming the nearest task.
TaskChoice ParseTask(std::string_view text);

}  // namespace rondo
