// Products of quantised weights: what they compute, exactly and nearly, and on what they depend.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/kernel_testing.h"
#include "kernels/matmul.h"
#include "kernels/quant_testing.h"
#include "kernels/reference.h"
#include "rondo/thread_pool.h"
#include "tensor/float_convert.h"

namespace rondo {
namespace {

constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                            DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                            DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1};

// The activations as the kernels see them, written plainly.
std::vector<float> Rounded(std::span<const float> x) {
  std::vector<float> rounded;
  for (size_t i = 0; i < x.size(); i += 32) {
    float largest = 0;
    for (size_t j = i; j < i + 32; ++j) largest = std::max(largest, std::abs(x[j]));
    const float inverse = largest > 0 ? 127 / largest : 0, scale = largest / 127;
    for (size_t j = i; j < i + 32; ++j) rounded.push_back(scale * std::nearbyint(x[j] * inverse));
  }
  return rounded;
}

double Norm(std::span<const float> v) {
  double sum = 0;
  for (const double value : v) sum += value * value;
  return std::sqrt(sum);
}

class QuantMatMulTest : public KernelTest {};

// The integer sums are exact; what rounds is, per group of 32, the product of scales, the two or
// three fused additions and the decoded reference's own values (f32): 8 ε of the sum of magnitudes
// covers each, and the running sum adds ε of itself per group.
TEST_P(QuantMatMulTest, EqualsTheProductOfDecodedWeightsAndRoundedInput) {
  for (const DType type : kTypes) {
    const int64_t block = Info(type).block_length;
    for (const int64_t in : {block, 2 * block, 5 * block}) {
      for (const int64_t out : {1, 15, 16, 17, 33, 100}) {
        const Tensor w = RandomBlocks(type, out, in, 1);
        const PackedMatrix packed(w, type);
        ASSERT_EQ(packed.type(), type);
        const std::vector<float> decoded = ToF32(w);
        constexpr int64_t kMost = 19;
        const std::vector<float> x = RandomFloats(kMost * in, 2), rounded = Rounded(x);
        const std::vector<double> expected = reference::MatMul(decoded, rounded, kMost, in, out);
        const double eps = 0x1p-24 * (8 + static_cast<double>(in) / 32);
        for (const int64_t rows :
             {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{7}, kMost}) {
          const std::vector<float> y =
              Multiply(packed, std::span(x).first(size_t(rows * in)), rows, 1);
          for (int64_t i = 0; i < rows * out; ++i) {
            const double bound = eps * Norm({rounded.data() + i / out * in, size_t(in)}) *
                                 Norm({decoded.data() + i % out * in, size_t(in)});
            ASSERT_NEAR(y[size_t(i)], expected[size_t(i)], bound)
                << Info(type).name << " rows " << rows << " in " << in << " out " << out;
          }
        }
      }
    }
  }
}

// A rounded activation is off by at most half a step, max|x| / 254, uniformly: the error of a sum
// has deviation ‖w‖ max|x| / (127 √12), of which 6 is not seen among some thousands.
TEST_P(QuantMatMulTest, IsNearTheProductOfExactInput) {
  for (const DType type : kTypes) {
    const int64_t in = 1536, out = 40, rows = 6;
    const Tensor w = RandomBlocks(type, out, in, 1);
    const std::vector<float> decoded = ToF32(w), x = RandomFloats(rows * in, 2);
    const std::vector<double> expected = reference::MatMul(decoded, x, rows, in, out);
    const std::vector<float> y = Multiply(PackedMatrix(w, type), x, rows, 1);
    float largest = 0;
    for (const float v : x) largest = std::max(largest, std::abs(v));
    for (int64_t i = 0; i < rows * out; ++i) {
      const double norm = Norm({decoded.data() + i % out * in, size_t(in)});
      ASSERT_NEAR(y[size_t(i)], expected[size_t(i)], 6 * norm * largest / (127 * std::sqrt(12)))
          << Info(type).name;
    }
  }
}

// The promise on which batching rests.
TEST_P(QuantMatMulTest, RowsDoNotDependOnBatchNorThreads) {
  for (const DType type : kTypes) {
    const int64_t in = 768, out = 75, rows = 300;
    const PackedMatrix packed(RandomBlocks(type, out, in, 1), type);
    const std::vector<float> x = RandomFloats(rows * in, 2);
    const std::vector<float> all = Multiply(packed, x, rows, 2);
    EXPECT_EQ(Multiply(packed, x, rows, 1), all);
    EXPECT_EQ(Multiply(packed, x, rows, 3), all);
    for (int64_t count = 1; count <= 40; ++count) {
      const auto last = Multiply(packed, std::span(x).last(size_t(count * in)), count, 1);
      ASSERT_EQ(last, std::vector<float>(all.end() - count * out, all.end())) << count;
    }
  }
}

TEST_P(QuantMatMulTest, EveryInstructionSetGivesTheSameBits) {
  for (const DType type : kTypes) {
    const int64_t in = 512, out = 37, rows = 11;
    const PackedMatrix packed(RandomBlocks(type, out, in, 1), type);
    const std::vector<float> x = RandomFloats(rows * in, 2);
    SetKernelTarget(KernelTargets().back());
    const std::vector<float> plainest = Multiply(packed, x, rows, 1);
    SetKernelTarget(GetParam());
    EXPECT_EQ(Multiply(packed, x, rows, 1), plainest) << Info(type).name;
  }
}

// The sequence of operations that matmul_quant-inl.h states, for the one type whose blocks are read
// in two lines: the same bits on every machine.
TEST_P(QuantMatMulTest, OperationsAreThoseStated) {
  const int64_t in = 160, out = 21, rows = 10, block = Info(DType::kQ8_0).block_bytes;
  const Tensor w = RandomBlocks(DType::kQ8_0, out, in, 1);
  const std::vector<float> x = RandomFloats(rows * in, 2);
  const std::vector<float> y = Multiply(PackedMatrix(w, DType::kQ8_0), x, rows, 1);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < out; ++o) {
      float sum = 0;
      for (int64_t g = 0; g < in / 32; ++g) {
        const float* values = x.data() + r * in + g * 32;
        const auto* bytes = reinterpret_cast<const uint8_t*>(w.RowBytes(o).data()) + g * block;
        float largest = 0;
        for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(values[i]));
        int dot = 0;
        for (int i = 0; i < 32; ++i) {
          const float code = std::nearbyint(values[i] * (127 / largest));
          dot += static_cast<int8_t>(bytes[2 + i]) * static_cast<int>(code);
        }
        const float scale = F32FromF16(static_cast<uint16_t>(bytes[0] | bytes[1] << 8));
        sum = std::fma(static_cast<float>(dot), scale * (largest / 127), sum);
      }
      ASSERT_EQ(y[size_t(r * out + o)], sum) << r << " " << o;
    }
  }
}

// The largest codes of all: nothing saturates.
TEST_P(QuantMatMulTest, ExtremeCodesDoNotOverflow) {
  for (const DType type : kTypes) {
    for (const int fill : {0x00, 0x7f, 0x80, 0xff}) {
      const DTypeInfo& info = Info(type);
      std::vector<std::byte> block(size_t(info.block_bytes), std::byte(fill));
      const size_t scale = type == DType::kQ6_K ? 208 : 0;
      block.at(scale) = std::byte(OnlyRondoReads(type) ? 160 : 0x00);  // 2^-4; as f16
      if (!OnlyRondoReads(type)) block.at(scale + 1) = std::byte(0x2c);
      const int64_t in = info.block_length;
      const Tensor w = Tensor::FromBytes(type, {1, in}, block);
      for (const float sign : {-1.0f, 1.0f}) {
        const std::vector<float> x(size_t(in), sign), decoded = ToF32(w);
        if (!std::isfinite(decoded[0])) continue;
        double expected = 0;
        for (const float v : decoded) expected += double{v} * sign;
        EXPECT_NEAR(Multiply(PackedMatrix(w, type), x, 1, 1)[0], expected,
                    1e-6 * std::abs(expected) + 1e-6 * Norm(decoded) * std::sqrt(in))
            << info.name << " " << fill;
      }
    }
  }
}

TEST_P(QuantMatMulTest, AccumulatesOntoTheTarget) {
  const int64_t in = 256, out = 37;
  const PackedMatrix packed(RandomBlocks(DType::kQ4_1, out, in, 1), DType::kQ4_1);
  for (const int64_t rows : {3, 40}) {
    const std::vector<float> x = RandomFloats(rows * in, 2), product = Multiply(packed, x, rows, 1);
    std::vector<float> y = RandomFloats(rows * out, 3);
    const std::vector<float> before = y;
    ThreadPool pool(2);
    MatMul(packed, x.data(), rows, y.data(), /*accumulate=*/true, pool);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], before[i] + product[i], 1e-5);
  }
}

TEST_P(QuantMatMulTest, SeveralProductsOfRowRangesAreOneJob) {
  const int64_t in = 256, rows = 9;
  const std::vector<float> x = RandomFloats(rows * in, 2);
  const PackedMatrix a(RandomBlocks(DType::kQ4_0, 40, in, 1), DType::kQ4_0);
  const PackedMatrix b(RandomBlocks(DType::kQ6_K, 20, in, 2), DType::kQ6_K);
  const PackedMatrix c(RandomBlocks(DType::kQ8_0, 70, in, 3), DType::kF32);
  const std::vector<float> ya = Multiply(a, x, rows, 1), yb = Multiply(b, x, rows, 1),
                           yc = Multiply(c, x, rows, 1);
  MatMulInput input;
  input.Set(x.data(), rows, in);
  constexpr int64_t kStride = 150;
  std::vector<float> y(rows * kStride, -1.0f);
  const Product products[] = {
      {.w = &a, .x = &input, .rows = 5, .y = y.data(), .y_stride = kStride},
      {.w = &b, .x = &input, .first_row = 2, .rows = 7, .y = y.data() + 40, .y_stride = kStride},
      {.w = &c, .x = &input, .rows = rows, .y = y.data() + 60, .y_stride = kStride},
      {.w = &a, .x = &input, .rows = 0, .y = nullptr}};
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::fill(y.begin(), y.end(), -1.0f);
    MatMul(products, pool);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < kStride; ++o) {
        float expected = -1;
        if (o < 40 && r < 5) expected = ya[size_t(r * 40 + o)];
        if (o >= 40 && o < 60 && r < 7) expected = yb[size_t((r + 2) * 20 + o - 40)];
        if (o >= 60 && o < 130) expected = yc[size_t(r * 70 + o - 60)];
        ASSERT_EQ(y[size_t(r * kStride + o)], expected) << r << " " << o;
      }
    }
  }
}

TEST_P(QuantMatMulTest, ValuesThatAreNotFiniteShow) {
  const PackedMatrix w(RandomBlocks(DType::kQ8_0, 3, 64, 1), DType::kQ8_0);
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    std::vector<float> x(64, 1.0f);
    x[40] = bad;
    for (const float y : Multiply(w, x, 1, 1)) EXPECT_TRUE(std::isnan(y));
  }
}

TEST_P(QuantMatMulTest, TinyAndZeroInputsGiveZero) {
  const PackedMatrix w(RandomBlocks(DType::kQ4_1, 3, 64, 1), DType::kQ4_1);
  for (const float tiny : {0.0f, 1e-44f, 1e-35f}) {
    const std::vector<float> x(64, tiny);
    for (const float y : Multiply(w, x, 1, 1)) EXPECT_EQ(y, 0);
  }
}

RONDO_KERNEL_TEST(QuantMatMulTest);

TEST(QuantPackedMatrix, TakesTheBytesOfTheFile) {
  for (const DType type : kTypes) {
    const int64_t in = 512, out = 32;
    const PackedMatrix w(RandomBlocks(type, out, in, 1), type);
    const auto file = static_cast<double>(StorageBytes(type, {out, in}));
    EXPECT_GE(static_cast<double>(w.bytes()), file) << Info(type).name;
    EXPECT_LE(static_cast<double>(w.bytes()), 1.03 * file) << Info(type).name;
  }
}

TEST(QuantPackedMatrix, EncodesFloats) {
  const int64_t in = 64, out = 3;
  const std::vector<float> values = RandomFloats(in * out, 1), x = RandomFloats(in, 2);
  const Tensor w = Tensor::FromF32({out, in}, values);
  const std::vector<float> y = Multiply(PackedMatrix(w, DType::kQ8_0), x, 1, 1);
  const std::vector<double> expected = reference::MatMul(values, Rounded(x), 1, in, out);
  // Weights are off by at most max|w| / 254, uniformly.
  for (size_t i = 0; i < y.size(); ++i) {
    EXPECT_NEAR(y[i], expected[i], 6 * Norm(x) * 4 / (127 * std::sqrt(12)));
  }
}

TEST(QuantPackedMatrix, WidthsThatAreNoWholeBlocksBecomeBf16) {
  const Tensor w = Tensor::FromF32({3, 40}, RandomFloats(120, 1));
  EXPECT_EQ(PackedMatrix(w, DType::kQ8_0).type(), DType::kBF16);
  EXPECT_EQ(PackedMatrix(w, DType::kBF16).type(), DType::kBF16);
}

}  // namespace
}  // namespace rondo
