// Training of speech models: utterances as features and units, or windows of audio that learn from
// a teacher. One process, on the CPU.
#pragma once

#include <memory>

#include "train/run/task.h"

namespace rondo {

// `context` outlives the task.
std::unique_ptr<TrainingTask> MakeSpeechTask(const RunContext& context);

}  // namespace rondo
