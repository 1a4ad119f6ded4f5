// Training of language models: text as rows of tokens, a live or cached teacher, exits, fading and
// layers that tie themselves.
#pragma once

#include <memory>

#include "train/run/task.h"

namespace rondo {

// `context` outlives the task.
std::unique_ptr<TrainingTask> MakeLanguageTask(const RunContext& context);

}  // namespace rondo
