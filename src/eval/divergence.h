// Sums over rows of logits of two models.
#pragma once

#include <cstdint>
#include <span>

#include "rondo/eval.h"

namespace rondo {

class DivergenceSums {
 public:
  // One position: logits of both models, [vocab] each.
  void Add(std::span<const float> a, std::span<const float> b);
  Divergence Means(int64_t vocab) const;

 private:
  Divergence result_;
  double difference_ = 0;
  double kl_ = 0;
  int64_t agree_ = 0;
};

}  // namespace rondo
