#include "kernels/row_ops.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/kernel_testing.h"
#include "kernels/reference.h"

namespace rondo {
namespace {

class RowOpsTest : public KernelTest {};

const std::vector<int64_t> kWidths = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 577};
constexpr double kEps = 0x1p-24;  // unit roundoff of f32

// A mean of n squares in 16 chains is off by a relative (n/16 + 5) · ε at most, its root by half of
// that; a few more operations follow.
double NormTolerance(int64_t width) { return kEps * (static_cast<double>(width) / 16 + 10); }

TEST_P(RowOpsTest, RmsNorm) {
  for (const int64_t width : kWidths) {
    const std::vector<float> x = RandomFloats(width, 1), gain = RandomFloats(width, 2);
    const std::vector<double> expected = reference::RmsNorm(x, gain, 1e-5f);
    std::vector<float> y(x.size());
    RmsNorm(x.data(), width, gain.data(), 1e-5f, y.data());
    std::vector<float> plain(x.size());
    RmsNorm(x.data(), width, nullptr, 1e-5f, plain.data());
    for (size_t i = 0; i < y.size(); ++i) {
      EXPECT_NEAR(y[i], expected[i], NormTolerance(width) * std::abs(expected[i]) + 1e-30);
      EXPECT_FLOAT_EQ(plain[i] * gain[i], y[i]);
    }
    std::vector<float> in_place = x;
    RmsNorm(in_place.data(), width, gain.data(), 1e-5f, in_place.data());
    EXPECT_EQ(in_place, y);
  }
}

// Subtracting the mean of values near 5 loses up to 5ε of each, beside the errors of the norm.
TEST_P(RowOpsTest, LayerNorm) {
  for (const int64_t width : kWidths) {
    std::vector<float> x = RandomFloats(width, 1);
    for (float& v : x) v += 5;
    const std::vector<float> gain = RandomFloats(width, 2), bias = RandomFloats(width, 3);
    const std::vector<double> expected = reference::LayerNorm(x, gain, bias, 1e-2f);
    std::vector<float> y(x.size()), no_bias(x.size());
    LayerNorm(x.data(), width, gain.data(), bias.data(), 1e-2f, y.data());
    LayerNorm(x.data(), width, gain.data(), nullptr, 1e-2f, no_bias.data());
    for (size_t i = 0; i < y.size(); ++i) {
      const double lost = 20 * kEps * (static_cast<double>(width) / 16 + 5);
      EXPECT_NEAR(y[i], expected[i], lost * (1 + std::abs(gain[i]) + std::abs(expected[i])));
      EXPECT_FLOAT_EQ(no_bias[i] + bias[i], y[i]);
    }
  }
}

std::vector<float> ActivationInputs() {
  std::vector<float> x = {0.0f, -0.0f, 1e-30f, -1e-30f, 87, -87, 89, -89, 120, -120, 1e4f, -1e4f};
  for (double v = -12; v <= 12; v += 0.01) x.push_back(static_cast<float>(v));
  return x;
}

// tanh and exp of the vector library are good to 4 units in the last place (ε each way), and the
// sum 1 + tanh rounds once more: absolute errors of a few ε times |x|, relative where nothing
// cancels.
TEST_P(RowOpsTest, Activations) {
  const std::vector<float> x = ActivationInputs();
  for (const Activation kind :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    std::vector<float> y = x, gated = x;
    const std::vector<float> up = RandomFloats(static_cast<int64_t>(x.size()), 4);
    Activate(kind, y.data(), static_cast<int64_t>(x.size()));
    ActivateGated(kind, gated.data(), up.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], reference::Activate(kind, x[i]), 10 * kEps * std::abs(x[i]) + 1e-36)
          << "x " << x[i] << " kind " << static_cast<int>(kind);
      EXPECT_EQ(gated[i], y[i] * up[i]);
    }
  }
}

TEST_P(RowOpsTest, GateSigmoid) {
  const std::vector<float> gate = ActivationInputs();
  const auto count = static_cast<int64_t>(gate.size());
  const std::vector<float> a = RandomFloats(count, 5);
  std::vector<float> y(gate.size());
  GateSigmoid(a.data(), gate.data(), count, y.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    EXPECT_NEAR(y[i], a[i] / (1 + std::exp(-double{gate[i]})), 10 * kEps * std::abs(a[i]))
        << gate[i];
    float alone = 0;
    GateSigmoid(&a[i], &gate[i], 1, &alone);
    EXPECT_EQ(alone, y[i]);
  }
}

// An element's value does not depend on where in the row it stands.
TEST_P(RowOpsTest, TailsUseTheSameArithmetic) {
  const std::vector<float> x = ActivationInputs();
  for (const Activation kind : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    std::vector<float> whole = x;
    Activate(kind, whole.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); i += 13) {
      float alone = x[i];
      Activate(kind, &alone, 1);
      EXPECT_EQ(alone, whole[i]);
    }
  }
}

TEST_P(RowOpsTest, ElementWise) {
  for (const int64_t width : kWidths) {
    const std::vector<float> a = RandomFloats(width, 1), b = RandomFloats(width, 2);
    std::vector<float> sum = a, scaled = a, capped = a;
    AddTo(sum.data(), b.data(), width);
    Scale(scaled.data(), 3.5f, width);
    SoftCap(capped.data(), 0.7f, width);
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(sum[i], a[i] + b[i]);
      EXPECT_EQ(scaled[i], a[i] * 3.5f);
      EXPECT_NEAR(capped[i], 0.7 * std::tanh(a[i] / 0.7), 10 * kEps);
    }
  }
}

RONDO_KERNEL_TEST(RowOpsTest);

}  // namespace
}  // namespace rondo
