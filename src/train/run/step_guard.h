// Whether an update may use a step's gradients.
#pragma once

#include <string>

#include "train/model/torch.h"
#include "train/run/journal.h"
#include "train/run/run_state.h"

namespace rondo {

class StepGuard {
 public:
  // `file` is the recipe's; `journal` outlives the guard.
  StepGuard(std::string file, Journal& journal) : file_(std::move(file)), journal_(journal) {}

  // False, and reported, for a loss or a gradient's norm that is not finite, and for a loss above
  // `spike` times its running mean (0: any). Throws after ten such steps in a row.
  bool Usable(RunState& state, double loss, double norm, double spike);
  // The last step was left out: parameters may be spoilt.
  bool skipping() const { return skipped_ > 0; }
  // Throws where a stage ends with a model that is no result: `parameters` that are not finite, or
  // losses that were not, more than once in a row.
  void CheckEnd(const RunState& state, const at::Tensor& parameters) const;

 private:
  [[noreturn]] void Diverged(const RunState& state, std::string problem) const;

  std::string file_;
  Journal& journal_;
  int skipped_ = 0;     // steps in a row
  int not_finite_ = 0;  // of them
};

}  // namespace rondo
