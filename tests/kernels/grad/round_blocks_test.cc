// Rounding in the loop beside what files store, and its gradients beside differences.
#include "kernels/grad/round_blocks.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/kernel_testing.h"
#include "tensor/quant_blocks.h"
#include "tensor/quant_grid.h"

namespace rondo {
namespace {

constexpr int64_t kBlocks = 7;
constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ5_0, DType::kQ5_1, DType::kQ4_0, DType::kQ4_1,
                            DType::kQ3_0, DType::kQ3_1, DType::kQ2_0, DType::kQ2_1};

class RoundBlocksTest : public KernelTest {};

// Weights of which some lie beyond the codes.
struct Blocks {
  std::vector<float> weight = RandomFloats(kBlocks * kRoundBlock, 1), scale, offset;
  RoundFormat format;

  explicit Blocks(DType dtype) : format(*FindRoundFormat(dtype)) {
    const auto levels = static_cast<float>(format.highest - format.lowest + 1);
    for (int64_t block = 0; block < kBlocks; ++block) {
      const float d = (3 + 0.1f * static_cast<float>(block)) / levels;
      scale.push_back(d);
      // Affine codes begin at 0.
      offset.push_back((format.lowest == 0 && format.center == 0 ? -1.5f : 0.2f) + 0.3f * d);
    }
    if (format.scale == StoredScale::kHalf && !format.HasOffset()) scale[2] *= -1;
    scale[5] = 0;
  }
  RoundBlocksInput Input() const {
    return {.weight = weight.data(),
            .scale = scale.data(),
            .offset = format.HasOffset() ? offset.data() : nullptr};
  }
};

TEST_P(RoundBlocksTest, GivesTheValuesThatThePackedBlocksHold) {
  for (const DType dtype : kTypes) {
    const Blocks b(dtype);
    std::vector<float> rounded(b.weight.size()), decoded(b.weight.size());
    RoundBlocks(b.format, kBlocks, b.Input(), rounded.data());
    std::vector<int16_t> codes(b.weight.size());
    std::vector<float> scale(kBlocks), base(kBlocks);
    RoundToCodes(b.format, kBlocks, b.Input(), codes.data(), scale.data(), base.data());
    std::vector<uint8_t> bytes(static_cast<size_t>(kBlocks * Info(dtype).block_bytes));
    for (size_t i = 0; i < kBlocks; ++i) {
      PackBlock(dtype, NearestGrid(dtype, scale[i], base[i]), codes.data() + i * kRoundBlock,
                bytes.data() + i * static_cast<size_t>(Info(dtype).block_bytes));
    }
    DecodeBlocks(dtype, reinterpret_cast<const std::byte*>(bytes.data()), kBlocks * kRoundBlock,
                 decoded.data());
    EXPECT_EQ(rounded, decoded) << Info(dtype).name;
  }
}

// The error of what is not clipped is half a step, and every value of the grid is its own.
TEST_P(RoundBlocksTest, RoundsToTheNearestValue) {
  for (const DType dtype : kTypes) {
    Blocks b(dtype);
    std::vector<float> rounded(b.weight.size()), again(b.weight.size());
    RoundBlocks(b.format, kBlocks, b.Input(), rounded.data());
    std::vector<int16_t> codes(b.weight.size());
    std::vector<float> scale(kBlocks), base(kBlocks);
    RoundToCodes(b.format, kBlocks, b.Input(), codes.data(), scale.data(), base.data());
    for (size_t i = 0; i < rounded.size(); ++i) {
      const float step = std::abs(scale[i / kRoundBlock]);
      if (step == 0 || codes[i] == b.format.lowest || codes[i] == b.format.highest) continue;
      EXPECT_LE(std::abs(rounded[i] - b.weight[i]), 0.50001f * step);
    }
    b.weight = rounded;
    RoundBlocks(b.format, kBlocks, b.Input(), again.data());
    EXPECT_EQ(rounded, again) << Info(dtype).name;
  }
}

// What the gradient is of: the rounding error of a code is held, and so is a clipped code.
double Surrogate(const RoundFormat& f, double x, double d, double m, double x0, double d0,
                 double m0) {
  const double t0 = (x0 - m0) / d0 - f.center, low = f.lowest - 0.5, high = f.highest + 0.5;
  if (t0 < low) return d * (f.lowest + f.center) + m;
  if (t0 > high) return d * (f.highest + f.center) + m;
  const double code = std::nearbyint(std::clamp<double>(t0, f.lowest, f.highest));
  return d * ((x - m) / d + (code - t0)) + m;
}

TEST_P(RoundBlocksTest, GradientsAreThoseOfTheDefinition) {
  constexpr double kStep = 1e-6;
  for (const DType dtype : kTypes) {
    Blocks b(dtype);
    // Parameters that are stored exactly, so that the definition sees the same codes.
    std::vector<int16_t> codes(b.weight.size());
    std::vector<float> base(kBlocks), grad = RandomFloats(kBlocks * kRoundBlock, 2);
    RoundToCodes(b.format, kBlocks, b.Input(), codes.data(), b.scale.data(), base.data());
    for (size_t i = 0; i < kBlocks; ++i) b.offset[i] = base[i] - b.format.center * b.scale[i];
    const std::vector<float> slope = grad;
    std::vector<float> dscale(kBlocks), doffset(kBlocks);
    RoundBlocksBackward(b.format, kBlocks, b.Input(), grad.data(), dscale.data(),
                        b.format.HasOffset() ? doffset.data() : nullptr);
    for (size_t block = 0; block < kBlocks; ++block) {
      if (b.scale[block] == 0) continue;
      const double d = b.scale[block], m = b.format.HasOffset() ? b.offset[block] : 0;
      double by_scale = 0, by_offset = 0;
      for (size_t i = block * kRoundBlock; i < (block + 1) * kRoundBlock; ++i) {
        const double x = b.weight[i], g = slope[i];
        const auto at = [&](double to_x, double to_d, double to_m) {
          return g * Surrogate(b.format, x + to_x, d + to_d, m + to_m, x, d, m) / (2 * kStep);
        };
        by_scale += at(0, kStep, 0) - at(0, -kStep, 0);
        by_offset += at(0, 0, kStep) - at(0, 0, -kStep);
        const double t = (x - m) / d - b.format.center;
        const bool low = t<b.format.lowest - 0.5, high = t> b.format.highest + 0.5;
        const bool back = (low && g * d < 0) || (high && g * d > 0);
        EXPECT_NEAR(grad[i], back ? g : at(kStep, 0, 0) - at(-kStep, 0, 0), 1e-6);
      }
      // Positions are differences of numbers up to 128, rounded to f32.
      const double tolerance = 32 * 0x1p-24 * 128 * 4;
      EXPECT_NEAR(dscale[block], by_scale, tolerance) << Info(dtype).name << " " << block;
      if (b.format.HasOffset()) EXPECT_NEAR(doffset[block], by_offset, 1e-5);
    }
  }
}

// A weight beyond the codes returns, and does not go further.
TEST(RoundBlocks, KeepsTheGradientThatLeadsBack) {
  const RoundFormat& format = *FindRoundFormat(DType::kQ4_0);
  std::vector<float> weight(kRoundBlock, 0.0f), grad(kRoundBlock, 0.0f);
  weight[0] = weight[1] = 20;
  weight[2] = weight[3] = -20;
  const float scale = 1;
  grad[0] = grad[2] = 0.5f;
  grad[1] = grad[3] = -0.5f;
  float dscale = 0;
  RoundBlocksBackward(format, 1, {.weight = weight.data(), .scale = &scale}, grad.data(), &dscale,
                      nullptr);
  EXPECT_EQ(grad[0], 0.5f);
  EXPECT_EQ(grad[1], 0.0f);
  EXPECT_EQ(grad[2], 0.0f);
  EXPECT_EQ(grad[3], -0.5f);
}

TEST(RoundBlocks, KnowsTheTypesThatItCannotLearn) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ4_K, DType::kQ6_K}) {
    EXPECT_EQ(FindRoundFormat(dtype), nullptr);
  }
}

RONDO_KERNEL_TEST(RoundBlocksTest);

}  // namespace
}  // namespace rondo
