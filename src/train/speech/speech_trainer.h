// A whole run of a recipe with a [speech] section.
#pragma once

#include "train/run/trainer.h"

namespace rondo {

// As Train(), which calls it. TrainResult::tokens are positions of the encoder.
TrainResult TrainSpeech(const Recipe& recipe, const TrainOptions& options);

}  // namespace rondo
