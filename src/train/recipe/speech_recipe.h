// What a recipe with a [speech] section may say.
#pragma once

#include "rondo/audio_features.h"
#include "rondo/speech_model.h"
#include "train/recipe/recipe.h"
#include "train/recipe/stage.h"

namespace rondo {

// Throws naming the recipe's file and the field that makes no sense, as far as that can be told
// without any model.
void CheckSpeechRecipe(const Recipe& recipe);

// The options of a stage. Unless the recipe says what is trained, all that some loss reaches is.
// Losses of speech models stand in [speech]; `kd` and `hidden` are those of the stage.
Stage ResolveSpeechStage(const Recipe& recipe, size_t index, const ModelConfig& encoder);

// Throws where the losses want heads that the model has not.
void CheckSpeechModelOf(const Recipe& recipe, const SpeechModel& model);

// Throws where the model cannot learn from the teacher what the stages ask for, its normalisation
// apart, which may come from the data.
void CheckSpeechTeacher(const Recipe& recipe, const SpeechModel& model, const SpeechModel& teacher);

void CheckSameNormalisation(const Recipe& recipe, const GlobalCmvn& model,
                            const GlobalCmvn& teacher);

}  // namespace rondo
