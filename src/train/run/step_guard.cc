#include "train/run/step_guard.h"

#include <cmath>

#include "rondo/error.h"

namespace rondo {
namespace {

// So many steps in a row without a usable gradient end the run.
constexpr int kMostSkipped = 10;

}  // namespace

bool StepGuard::Usable(RunState& state, double loss, double norm, double spike) {
  const bool finite = std::isfinite(loss) && std::isfinite(norm);
  const bool spiked = spike > 0 && state.loss_mean > 0 && loss > spike * state.loss_mean;
  if (finite && !spiked) {
    state.loss_mean = state.loss_mean == 0 ? loss : 0.95 * state.loss_mean + 0.05 * loss;
    skipped_ = 0;
    return true;
  }
  ++skipped_;
  journal_.Write({.step = state.step + 1,
                  .tokens = state.tokens,
                  .seconds = state.seconds,
                  .loss = loss,
                  .grad_norm = norm,
                  .event = "spike",
                  .text = finite ? "loss far above its mean; step left out"
                                 : "loss or gradient is not finite; step left out"});
  if (skipped_ < kMostSkipped) return false;
  throw Error({.function = "Train",
               .problem = std::to_string(skipped_) +
                          " steps in a row without a usable gradient (loss " +
                          std::to_string(loss) + " at step " + std::to_string(state.step + 1) + ")",
               .expected = "a finite loss; the last checkpoint is whole: a lower lr may help",
               .file = file_,
               .field = "stages." + std::to_string(state.stage)});
}

}  // namespace rondo
