#include "eval/task_spec.h"

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr TaskSplit kTrain = TaskSplit::kTrain, kValidation = TaskSplit::kValidation,
                    kTest = TaskSplit::kTest;

const TaskSpec kTasks[] = {
    {.name = "lambada_openai",
     .files = {"lambada", "lambada_openai"},
     .evaluated = kTest,
     .shots = kTest,
     .draws_one_more = false,
     .ranks_choices = false,
     .normalises = false,
     .read = ReadLambada},
    {.name = "hellaswag",
     .files = {"hellaswag"},
     .evaluated = kValidation,
     .shots = kTrain,
     .draws_one_more = true,
     .ranks_choices = true,
     .normalises = true,
     .read = ReadHellaSwag},
    {.name = "piqa",
     .files = {"piqa"},
     .evaluated = kValidation,
     .shots = kTrain,
     .draws_one_more = true,
     .ranks_choices = true,
     .normalises = true,
     .read = ReadPiqa},
    {.name = "winogrande",
     .files = {"winogrande"},
     .evaluated = kValidation,
     .shots = kTrain,
     .draws_one_more = true,
     .ranks_choices = true,
     .normalises = false,
     .read = ReadWinoGrande},
    {.name = "arc_easy",
     .files = {"ARC-Easy"},
     .evaluated = kTest,
     .shots = kTrain,
     .draws_one_more = false,
     .ranks_choices = true,
     .normalises = true,
     .read = ReadArc},
    {.name = "arc_challenge",
     .files = {"ARC-Challenge"},
     .evaluated = kTest,
     .shots = kTrain,
     .draws_one_more = false,
     .ranks_choices = true,
     .normalises = true,
     .read = ReadArc},
    {.name = "openbookqa",
     .files = {"openbookqa"},
     .evaluated = kTest,
     .shots = kTrain,
     .draws_one_more = false,
     .ranks_choices = true,
     .normalises = true,
     .read = ReadOpenBookQa},
};

[[noreturn]] void Unknown(const std::string& what, std::string_view name,
                          const std::vector<std::string>& known) {
  throw Error({.function = "ParseTask",
               .problem = "unknown " + what + " '" + std::string(name) + "'",
               .expected = UnknownNameHint(name, known),
               .file = {},
               .field = "tasks"});
}

TaskSplit SplitFromName(std::string_view name) {
  std::vector<std::string> known;
  for (const TaskSplit split : {kTrain, kValidation, kTest}) {
    if (Name(split) == name) return split;
    known.emplace_back(Name(split));
  }
  Unknown("split", name, known);
}

}  // namespace

std::string_view Name(TaskSplit split) {
  return split == kTrain ? "train" : split == kValidation ? "validation" : "test";
}

std::span<const TaskSpec> AllTaskSpecs() { return kTasks; }

TaskChoice ParseTask(std::string_view text) {
  const size_t colon = text.find(':');
  std::string_view name = text.substr(0, colon);
  if (name == "lambada") name = "lambada_openai";
  std::vector<std::string> known;
  for (const TaskSpec& spec : kTasks) {
    known.emplace_back(spec.name);
    if (spec.name != name) continue;
    if (colon == std::string_view::npos) return {&spec, spec.evaluated, spec.draws_one_more};
    const TaskSplit split = SplitFromName(text.substr(colon + 1));
    return {&spec, split, spec.draws_one_more || (split != spec.evaluated && split == spec.shots)};
  }
  Unknown("task", name, known);
}

}  // namespace rondo
