#include "train/run/step_guard.h"

#include <cmath>
#include <utility>

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
    skipped_ = not_finite_ = 0;
    return true;
  }
  ++skipped_;
  if (!finite) ++not_finite_;
  journal_.Write({.step = state.step + 1,
                  .tokens = state.tokens,
                  .seconds = state.seconds,
                  .loss = loss,
                  .grad_norm = norm,
                  .event = "spike",
                  .text = finite ? "loss far above its mean; step left out"
                                 : "loss or gradient is not finite; step left out"});
  if (skipped_ < kMostSkipped) return false;
  Diverged(state, std::to_string(skipped_) + " steps in a row without a usable gradient (loss " +
                      std::to_string(loss) + " at step " + std::to_string(state.step + 1) + ")");
}

void StepGuard::CheckEnd(const RunState& state, const at::Tensor& parameters) const {
  if (not_finite_ > 1) {
    Diverged(state, "a stage whose last " + std::to_string(not_finite_) +
                        " losses or gradients are not finite");
  }
  if (!parameters.isfinite().all().item<bool>()) {
    Diverged(state, "parameters that are not finite at a stage's end");
  }
}

void StepGuard::Diverged(const RunState& state, std::string problem) const {
  throw Error({.function = "Train",
               .problem = std::move(problem),
               .expected = "a finite loss; the last checkpoint is whole: a lower lr may help",
               .file = file_,
               .field = "stages." + std::to_string(state.stage)});
}

}  // namespace rondo
