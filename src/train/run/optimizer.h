// AdamW over the flat arrays of Params: decay for matrices only, one rate with a factor per group.
// Of several ranks each holds the moments of its share alone, and updates that.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/model/params.h"
#include "train/model/torch.h"
#include "train/run/ranks.h"

namespace rondo {

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1;  // largest norm of the gradient; 0: any
  double ema = 0;   // decay of a moving average of the parameters; 0: none
};

// What an optimiser remembers of all parameters, for checkpoints.
struct OptimizerState {
  at::Tensor m, v;     // first and second moments
  at::Tensor average;  // undefined: none
  int64_t updates = 0;
  // By name, the updates before a parameter's first; absent: 0.
  std::map<std::string, int64_t> born;
};

class Optimizer {
 public:
  // `params` and `ranks` outlive it.
  Optimizer(Params& params, const OptimizerOptions& options, const Ranks& ranks = OneProcess());

  // L2 norm of all gradients but those apart; they are the whole batch's on every rank.
  double GradNorm() const;
  // One update with the gradients as they are; `norm` is GradNorm().
  void Step(double lr, double norm);

  // The moving average of the parameters; undefined: none.
  const at::Tensor& average() const { return average_; }
  // Exchanges parameters and their average, in place.
  void SwapAverage();

  // Follows parameters that were laid out anew. New ones begin without moments. One rank only.
  void Retie(const std::vector<ParamMove>& moves);

  // Bytes of what it remembers on this rank.
  int64_t bytes() const;

  // Every rank calls it; the moments are whole at the first one and undefined at the others.
  OptimizerState Collect() const;
  // `state` is whole at every rank.
  void Restore(const OptimizerState& state);

 private:
  struct Piece {
    int64_t begin, count;
    bool decay, apart;
    float lr_scale;
    int64_t born;  // updates before its first
  };

  void MakePieces();
  void UpdateAverage();
  // Sweeps over pieces on the CPU, whole arrays on another device.
  void StepPieces(double lr, double clip);
  void StepWhole(double lr, double clip);

  Params& params_;
  OptimizerOptions options_;
  const Ranks& ranks_;
  Ranks::Share share_;
  at::Tensor m_, v_;  // moments of the share
  at::Tensor average_;
  int64_t updates_ = 0;
  std::map<std::string, int64_t> born_;
  std::vector<Piece> pieces_, mine_;
  // On another device: of every value of the share its factor on the rate, the updates before its
  // first, whether it decays, and, of all values, whether clipping counts it.
  at::Tensor rate_, births_, decays_, clipped_;
};

// While it lives, the parameters have their average's values, if there is one.
class AverageInPlace {
 public:
  explicit AverageInPlace(Optimizer& optimizer) : optimizer_(optimizer) { Swap(); }
  ~AverageInPlace() { Swap(); }
  AverageInPlace(const AverageInPlace&) = delete;
  AverageInPlace& operator=(const AverageInPlace&) = delete;

 private:
  void Swap() {
    if (optimizer_.average().defined()) optimizer_.SwapAverage();
  }
  Optimizer& optimizer_;
};

}  // namespace rondo
