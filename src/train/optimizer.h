// AdamW over the flat arrays of Params: decay for matrices only, one rate with a factor per group.
#pragma once

#include <cstdint>
#include <vector>

#include "train/params.h"
#include "train/torch.h"

namespace rondo {

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1;  // largest norm of the gradient; 0: any
  double ema = 0;   // decay of a moving average of the parameters; 0: none
};

class Optimizer {
 public:
  Optimizer(Params& params, const OptimizerOptions& options);

  // L2 norm of all gradients but those apart.
  double GradNorm() const;
  // One update with the gradients as they are; `norm` is GradNorm().
  void Step(double lr, double norm);

  // Exchanges parameters and their average, in place.
  void SwapAverage();

  // State, for checkpoints: first and second moments, the average (undefined: none), the number of
  // updates.
  at::Tensor m, v, average;
  int64_t updates = 0;

 private:
  struct Piece {
    int64_t begin, count;
    bool decay, apart;
    float lr_scale;
  };

  Params& params_;
  OptimizerOptions options_;
  std::vector<Piece> pieces_;
};

}  // namespace rondo
