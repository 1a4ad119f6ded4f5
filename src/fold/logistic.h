// Logistic regression, as the exit gate needs it.
#pragma once

#include <vector>

#include "fold/linalg.h"

namespace rondo {

struct LogisticFit {
  std::vector<double> weights;  // [d]
  double bias = 0;
};

// Minimises Σ over rows of log(1 + exp(−±(w·x + b))) + ridge · rows / 8 · ‖w‖² by Newton's method,
// with the sign of `answers` [rows] (0 or 1); x [rows, d] of mean square about 1. The ridge makes
// the minimum finite whatever the answers; the bias has a thousandth of it.
LogisticFit FitLogistic(const MatrixF64& x, const std::vector<uint8_t>& answers, double ridge);

// Mean loss of a fit, nats a row.
double LogisticLoss(const LogisticFit& fit, const MatrixF64& x,
                    const std::vector<uint8_t>& answers);

}  // namespace rondo
