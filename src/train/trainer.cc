#include "train/trainer.h"

#include "train/language/language_task.h"
#include "train/speech/speech_task.h"

namespace rondo {

TrainResult Train(const Recipe& recipe, const TrainOptions& options) {
  return RunTask(recipe, options, recipe.speech ? MakeSpeechTask : MakeLanguageTask);
}

}  // namespace rondo
