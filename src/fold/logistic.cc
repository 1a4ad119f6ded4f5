#include "fold/logistic.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rondo {
namespace {

double Score(const LogisticFit& fit, const MatrixF64& x, int64_t row) {
  return std::inner_product(fit.weights.begin(), fit.weights.end(), x.row(row), fit.bias);
}

// log(1 + exp(-z)) without overflow.
double Softplus(double minus_z) {
  return std::max(minus_z, 0.0) + std::log1p(std::exp(-std::abs(minus_z)));
}

struct Penalty {
  double weights, bias;
};

double Objective(const LogisticFit& fit, const MatrixF64& x, const std::vector<uint8_t>& answers,
                 Penalty penalty) {
  const double squares =
      std::inner_product(fit.weights.begin(), fit.weights.end(), fit.weights.begin(), 0.0);
  return LogisticLoss(fit, x, answers) * static_cast<double>(x.rows()) +
         penalty.weights / 2 * squares + penalty.bias / 2 * fit.bias * fit.bias;
}

// Newton's step at `fit`, [d + 1] with the bias last: (Hessian)⁻¹ · gradient.
MatrixF64 NewtonStep(const LogisticFit& fit, const MatrixF64& x,
                     const std::vector<uint8_t>& answers, Penalty penalty) {
  const int64_t d = x.cols();
  MatrixF64 scaled(x.rows(), d + 1), step(d + 1, 1), hessian(d + 1, d + 1);
  for (int64_t r = 0; r < x.rows(); ++r) {
    const double p = 1 / (1 + std::exp(-Score(fit, x, r)));
    const double error = p - answers[static_cast<size_t>(r)], scale = std::sqrt(p * (1 - p));
    for (int64_t j = 0; j < d; ++j) {
      step(j, 0) += error * x(r, j);
      scaled(r, j) = scale * x(r, j);
    }
    step(d, 0) += error;
    scaled(r, d) = scale;
  }
  AddGram(1, scaled, hessian);
  for (int64_t j = 0; j < d; ++j) {
    step(j, 0) += penalty.weights * fit.weights[static_cast<size_t>(j)];
    hessian(j, j) += penalty.weights;
  }
  step(d, 0) += penalty.bias * fit.bias;
  hessian(d, d) += penalty.bias;
  CholeskySolve(Cholesky(std::move(hessian)), step);
  return step;
}

LogisticFit Moved(const LogisticFit& fit, const MatrixF64& step, double share) {
  LogisticFit moved = fit;
  for (size_t j = 0; j < moved.weights.size(); ++j) {
    moved.weights[j] -= share * step(static_cast<int64_t>(j), 0);
  }
  moved.bias -= share * step(step.rows() - 1, 0);
  return moved;
}

}  // namespace

double LogisticLoss(const LogisticFit& fit, const MatrixF64& x,
                    const std::vector<uint8_t>& answers) {
  double sum = 0;
  for (int64_t r = 0; r < x.rows(); ++r) {
    const double score = Score(fit, x, r);
    sum += Softplus(answers[static_cast<size_t>(r)] != 0 ? -score : score);
  }
  return sum / static_cast<double>(x.rows());
}

LogisticFit FitLogistic(const MatrixF64& x, const std::vector<uint8_t>& answers, double ridge) {
  constexpr int kMostSteps = 50;
  constexpr double kTolerance = 1e-9;  // relative gain of a step that ends it
  const double weight_penalty = ridge * static_cast<double>(x.rows()) / 4;
  const Penalty penalty{weight_penalty, weight_penalty / 1000};
  LogisticFit fit{.weights = std::vector<double>(static_cast<size_t>(x.cols()))};
  double value = Objective(fit, x, answers, penalty);
  for (int i = 0; i < kMostSteps; ++i) {
    const MatrixF64 step = NewtonStep(fit, x, answers, penalty);
    // Far from the minimum a whole step may overshoot.
    double share = 1, next_value = value;
    LogisticFit next;
    do {
      next = Moved(fit, step, share);
      next_value = Objective(next, x, answers, penalty);
      share /= 2;
    } while (next_value > value && share > 1e-6);
    if (next_value >= value) break;
    const bool done = value - next_value < kTolerance * value;
    fit = std::move(next);
    value = next_value;
    if (done) break;
  }
  return fit;
}

}  // namespace rondo
