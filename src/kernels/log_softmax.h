// Logarithms of sums of exponentials: what every likelihood, every entropy and every search adds
// up. Sums are kept in double; a value of -infinity is a probability of zero, a NaN comes through.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace rondo {

// log Σ exp(x). -infinity for no values and where all of them are.
double LogSumExp(std::span<const float> x);

// In place: logits[rows, width] become log-probabilities. A row of nothing but -infinity stays as
// it is; a row with a NaN or +infinity becomes NaN.
void LogSoftmax(std::span<float> logits, int64_t width);

// How sure a softmax is.
struct Certainty {
  double confidence;  // the largest probability
  double entropy;     // nats
};
// Of the softmax of `logits`, of which there is at least one that is finite.
Certainty CertaintyOf(std::span<const float> logits);

// log(exp(a) + exp(b)).
inline double LogAdd(double a, double b) {
  if (a < b) std::swap(a, b);
  if (b == -std::numeric_limits<double>::infinity()) return a;
  return a + std::log1p(std::exp(b - a));
}

}  // namespace rondo
