// Gradients of row operations beside differences of their definitions in double precision.
#include "kernels/grad/row_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_testing.h"
#include "kernels/reference.h"

namespace rondo {
namespace {

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                       Activation::kRelu};
constexpr int64_t kWidths[] = {1, 3, 8, 15, 16, 17, 33, 100};

class RowKernelsTest : public KernelTest {};

double NormValue(const std::vector<double>& x, size_t i, double gain, double eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return x[i] / std::sqrt(squares / static_cast<double>(x.size()) + eps) * gain;
}

TEST_P(RowKernelsTest, RmsNormAndItsGradients) {
  constexpr float kEps = 1e-3f;
  for (const int64_t width : kWidths) {
    const auto n = static_cast<size_t>(width);
    const std::vector<float> x = RandomFloats(2 * width, 1), gain = RandomFloats(width, 2),
                             dy = RandomFloats(2 * width, 3);
    std::vector<float> y(2 * n), rstd(2), dx(2 * n), dgain(n, 1.0f);
    RmsNormForward(x.data(), 2, width, gain.data(), kEps, y.data(), rstd.data());
    RmsNormBackward(dy.data(), x.data(), rstd.data(), gain.data(), 2, width, dx.data(),
                    dgain.data());
    std::vector<double> slope_gain(n, 1.0);  // they are added to
    for (size_t r = 0; r < 2; ++r) {
      const std::vector<double> row(x.begin() + static_cast<int64_t>(r * n),
                                    x.begin() + static_cast<int64_t>((r + 1) * n));
      const auto loss = [&](size_t at, double step) {
        std::vector<double> moved = row;
        moved[at] += step;
        double sum = 0;
        for (size_t i = 0; i < n; ++i) sum += dy[r * n + i] * NormValue(moved, i, gain[i], kEps);
        return sum;
      };
      for (size_t i = 0; i < n; ++i) {
        EXPECT_NEAR(y[r * n + i], NormValue(row, i, gain[i], kEps), 1e-5) << width;
        EXPECT_NEAR(dx[r * n + i], (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5, 1e-4) << width;
        slope_gain[i] += dy[r * n + i] * NormValue(row, i, 1, kEps);
      }
    }
    for (size_t i = 0; i < n; ++i) EXPECT_NEAR(dgain[i], slope_gain[i], 1e-5) << width;
  }
}

TEST_P(RowKernelsTest, ActivationsAndTheirGradients) {
  for (const Activation kind : kActivations) {
    for (const int64_t width : kWidths) {
      const auto n = static_cast<size_t>(width);
      const std::vector<float> x = RandomFloats(2 * width, 5), dy = RandomFloats(width, 6);
      std::vector<float> y(n), dx(2 * n), plain(n), plain_dx(n);
      ActivationForward(kind, true, x.data(), 1, width, y.data());
      ActivationBackward(kind, true, x.data(), dy.data(), 1, width, dx.data());
      ActivationForward(kind, false, x.data(), 1, width, plain.data());
      ActivationBackward(kind, false, x.data(), dy.data(), 1, width, plain_dx.data());
      for (size_t i = 0; i < n; ++i) {
        const double act = reference::Activate(kind, x[i]);
        const double slope =
            (reference::Activate(kind, x[i] + 1e-5) - reference::Activate(kind, x[i] - 1e-5)) /
            2e-5;
        const double limit = 1e-5 * (1 + std::abs(dy[i]) * (1 + std::abs(x[n + i])));
        EXPECT_NEAR(y[i], act * x[n + i], limit);
        EXPECT_NEAR(dx[i], dy[i] * x[n + i] * slope, limit);
        EXPECT_NEAR(dx[n + i], dy[i] * act, limit);
        EXPECT_NEAR(plain[i], act, limit);
        EXPECT_NEAR(plain_dx[i], dy[i] * slope, limit);
      }
    }
  }
}

TEST_P(RowKernelsTest, DropoutFollowsFromSeedAndNumberAlone) {
  constexpr int64_t kCount = 4099;
  const std::vector<float> x(kCount, 3.0f);
  std::vector<float> whole(kCount), pieces(kCount), other(kCount);
  Dropout(x.data(), kCount, 9, 100, 0.25f, whole.data());
  for (int64_t at = 0; at < kCount; at += 37) {
    const int64_t count = std::min<int64_t>(37, kCount - at);
    Dropout(x.data() + at, count, 9, 100 + at, 0.25f, pieces.data() + at);
  }
  EXPECT_EQ(pieces, whole);
  Dropout(x.data(), kCount, 10, 100, 0.25f, other.data());
  EXPECT_NE(other, whole);
  const auto dropped = static_cast<double>(std::count(whole.begin(), whole.end(), 0.0f));
  // Five standard deviations.
  EXPECT_NEAR(dropped / kCount, 0.25, 5 * std::sqrt(0.25 * 0.75 / kCount));
  for (const float value : whole) EXPECT_TRUE(value == 0 || std::abs(value - 4) < 1e-6);
}

TEST_P(RowKernelsTest, TurnedBackIsWhatItWas) {
  constexpr int kDim = 24, kRotary = 16;
  const std::vector<float> in = RandomFloats(kDim, 1);
  std::vector<float> angles, turned(kDim), back(kDim);
  for (int i = 0; i < kRotary / 2; ++i) angles.push_back(std::cos(0.3f * static_cast<float>(i)));
  for (int i = 0; i < kRotary / 2; ++i) angles.push_back(std::sin(0.3f * static_cast<float>(i)));
  TurnHead(in.data(), kDim, kRotary, angles.data(), false, turned.data());
  TurnHead(turned.data(), kDim, kRotary, angles.data(), true, back.data());
  for (int i = 0; i < kDim; ++i) EXPECT_NEAR(back[i], in[i], 1e-6);
  EXPECT_NEAR(turned[1], in[1] * angles[1] - in[9] * angles[9], 1e-6);
  EXPECT_NEAR(turned[9], in[9] * angles[1] + in[1] * angles[9], 1e-6);
  EXPECT_EQ(turned[20], in[20]);
}

TEST_P(RowKernelsTest, AdamWIsItsFormula) {
  const AdamStep step{.lr = 0.01f,
                      .beta1 = 0.9f,
                      .beta2 = 0.99f,
                      .eps = 1e-8f,
                      .weight_decay = 0.1f,
                      .grad_scale = 0.5f,
                      .correction1 = 0.19f,
                      .correction2 = 0.0199f};
  for (const int64_t count : kWidths) {
    const std::vector<float> grad = RandomFloats(count, 1), w = RandomFloats(count, 2),
                             m = RandomFloats(count, 3);
    std::vector<float> v = RandomFloats(count, 4), new_w = w, new_m = m;
    for (float& value : v) value *= value;
    std::vector<float> new_v = v;
    AdamW(step, count, grad.data(), new_m.data(), new_v.data(), new_w.data());
    for (size_t i = 0; i < w.size(); ++i) {
      const double g = 0.5 * grad[i], m1 = 0.9 * m[i] + 0.1 * g, v1 = 0.99 * v[i] + 0.01 * g * g;
      const double update = m1 / 0.19 / (std::sqrt(v1 / 0.0199) + 1e-8);
      EXPECT_NEAR(new_m[i], m1, 1e-6);
      EXPECT_NEAR(new_v[i], v1, 1e-6 * (1 + v1));
      EXPECT_NEAR(new_w[i], w[i] * (1 - 0.01 * 0.1) - 0.01 * update, 1e-5 * (1 + std::abs(update)));
    }
  }
}

TEST_P(RowKernelsTest, AveragesAndSums) {
  for (const int64_t count : {1, 15, 17, 5000}) {
    const std::vector<float> value = RandomFloats(count, 1), old = RandomFloats(count, 2);
    std::vector<float> average = old;
    MovingAverage(0.75f, count, value.data(), average.data());
    double squares = 0;
    for (size_t i = 0; i < value.size(); ++i) {
      EXPECT_NEAR(average[i], 0.75 * old[i] + 0.25 * value[i], 1e-6);
      squares += double{value[i]} * value[i];
    }
    EXPECT_NEAR(SumOfSquares(value.data(), count), squares, 1e-5 * squares);
    average.back() = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(SumOfSquares(average.data(), count)));
    average.back() = std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(SumOfSquares(average.data(), count)));
  }
}

RONDO_KERNEL_TEST(RowKernelsTest);

}  // namespace
}  // namespace rondo
