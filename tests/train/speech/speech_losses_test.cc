// Losses of speech models against sums over every single way through.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/rng.h"
#include "train/loss/transducer_loss.h"
#include "train/model/torch.h"

namespace rondo {
namespace {

at::Tensor RandomLogProbs(std::vector<int64_t> sizes, uint64_t seed) {
  Rng rng(seed);
  at::Tensor x = at::empty(sizes, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) {
    x.mutable_data_ptr<float>()[i] = static_cast<float>(2 * rng.Normal());
  }
  return at::log_softmax(x, -1);
}

// Σ over ways of the product of probabilities from point (t, u) on.
double Ways(const at::Tensor& blank, const at::Tensor& label, int64_t positions, int64_t units,
            int64_t t, int64_t u) {
  const double stay = std::exp(blank[t][u].item<double>());
  double sum = 0;
  if (t + 1 < positions) sum += stay * Ways(blank, label, positions, units, t + 1, u);
  if (t + 1 == positions && u == units) sum += stay;
  if (u < units) {
    sum += std::exp(label[t][u].item<double>()) * Ways(blank, label, positions, units, t, u + 1);
  }
  return sum;
}

struct Transitions {
  at::Tensor blank, label;
};

// Of a joint distribution over blank and four units at each of 5 · 4 points, for units 1 2 2.
Transitions RandomTransitions(int64_t rows, uint64_t seed) {
  const at::Tensor all = RandomLogProbs({rows, 5, 4, 5}, seed);
  const at::Tensor units =
      at::tensor({1, 2, 2}, at::kLong).view({1, 1, 3, 1}).expand({rows, 5, 3, 1});
  return {all.select(3, 0).contiguous(), all.narrow(2, 0, 3).gather(3, units).squeeze(3)};
}

TEST(TransducerLossTest, EqualsTheSumOverAllWays) {
  const Transitions p = RandomTransitions(4, 1);
  const std::vector<int64_t> positions = {5, 3, 1, 4}, units = {3, 2, 3, 0};
  const at::Tensor losses = TransducerLoss(p.blank, p.label, positions, units);
  for (int64_t row = 0; row < 4; ++row) {
    const auto at = static_cast<size_t>(row);
    const double expected =
        -std::log(Ways(p.blank[row], p.label[row], positions[at], units[at], 0, 0));
    // Sums in double of numbers that are the same; the result is rounded once to f32.
    EXPECT_NEAR(losses[row].item<double>(), expected, 1e-6 * expected);
  }
}

TEST(TransducerLossTest, GradientsAreThoseOfFiniteDifferences) {
  const Transitions p = RandomTransitions(2, 2);
  const std::vector<int64_t> positions = {5, 4}, units = {3, 2};
  const at::Tensor blank = p.blank.detach().requires_grad_(true),
                   label = p.label.detach().requires_grad_(true);
  const at::Tensor weights = at::tensor({1.0, 0.5}, at::kFloat);
  torch::autograd::backward({(TransducerLoss(blank, label, positions, units) * weights).sum()}, {});
  const auto loss = [&](const at::Tensor& b, const at::Tensor& l) {
    double sum = 0;
    for (int64_t row = 0; row < 2; ++row) {
      const auto at = static_cast<size_t>(row);
      sum -= weights[row].item<double>() *
             std::log(Ways(b[row], l[row], positions[at], units[at], 0, 0));
    }
    return sum;
  };
  // The sum over ways in double; second-order differences leave an error of about step².
  constexpr double kStep = 1e-4;
  const auto check = [&](const at::Tensor& of, const at::Tensor& gradient, bool is_blank) {
    at::Tensor moved = of.detach().to(at::kDouble).clone();
    for (int64_t i = 0; i < moved.numel(); ++i) {
      double* value = moved.mutable_data_ptr<double>() + i;
      const double before = *value;
      const auto at_value = [&](double v) {
        *value = v;
        return is_blank ? loss(moved, label.detach()) : loss(blank.detach(), moved);
      };
      const double slope = (at_value(before + kStep) - at_value(before - kStep)) / (2 * kStep);
      *value = before;
      EXPECT_NEAR(gradient.flatten()[i].item<double>(), slope, 1e-6);
    }
  };
  check(blank, blank.grad(), true);
  check(label, label.grad(), false);
}

// −log of the sum over all sequences of symbols that collapse to the units.
double CtcByEnumeration(const at::Tensor& log_p, int64_t positions,
                        const std::vector<int64_t>& units) {
  double total = 0;
  std::vector<int64_t> path(static_cast<size_t>(positions));
  const std::function<void(int64_t, double)> go = [&](int64_t t, double p) {
    if (t == positions) {
      std::vector<int64_t> text;
      int64_t last = 0;
      for (const int64_t symbol : path) {
        if (symbol != 0 && symbol != last) text.push_back(symbol);
        last = symbol;
      }
      if (text == units) total += p;
      return;
    }
    for (int64_t symbol = 0; symbol < log_p.size(1); ++symbol) {
      path[static_cast<size_t>(t)] = symbol;
      go(t + 1, p * std::exp(log_p[t][symbol].item<double>()));
    }
  };
  go(0, 1);
  return -std::log(total);
}

// What the trainer relies on of LibTorch's CTC: its arguments, padding and infeasible rows.
TEST(CtcLossTest, EqualsTheSumOverAllPaths) {
  const at::Tensor log_p = RandomLogProbs({6, 3, 4}, 3);  // positions, rows, symbols
  const at::Tensor targets = at::tensor({1, 1, 2, 3, 0, 0, 2, 2, 2}, at::kLong).view({3, 3});
  const std::vector<int64_t> positions = {6, 5, 4}, units = {3, 1, 3};
  const at::Tensor losses = at::ctc_loss(log_p, targets, positions, units, 0, at::Reduction::None,
                                         /*zero_infinity=*/true);
  EXPECT_NEAR(losses[0].item<double>(), CtcByEnumeration(log_p.select(1, 0), 6, {1, 1, 2}), 1e-4);
  EXPECT_NEAR(losses[1].item<double>(), CtcByEnumeration(log_p.select(1, 1), 5, {3}), 1e-4);
  EXPECT_EQ(losses[2].item<double>(), 0);  // 2 2 2 needs five positions
}

}  // namespace
}  // namespace rondo
