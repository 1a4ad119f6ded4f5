#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include "kernels/kernel_testing.h"
#include "kernels/reference.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "tensor/float_convert.h"

namespace rondo {
namespace {

class MatMulTest : public KernelTest {};

// A sum of `in` products in f32 is off by at most in · ε · Σ|x·w|; errors being random, by about
// √in · ε · ‖x‖‖w‖, of which 4 covers the largest seen among thousands.
void ExpectNear(const std::vector<float>& y, std::span<const float> w, std::span<const float> x,
                int64_t rows, int64_t in, int64_t out) {
  const std::vector<double> expected = reference::MatMul(w, x, rows, in, out);
  const double tolerance = 4 * 0x1p-24 * std::sqrt(in) * in;  // ‖x‖ ≈ ‖w‖ ≈ √in
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(y[i], expected[i], tolerance + 1e-6) << "of " << rows << " " << in << " " << out;
  }
}

TEST_P(MatMulTest, SizesAroundEveryBorder) {
  for (const int64_t in : {1, 2, 15, 16, 17, 255, 256, 257, 600}) {
    for (const int64_t out : {1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 65, 100}) {
      const std::vector<float> w = RandomFloats(in * out, 1);
      const PackedMatrix packed(Tensor::FromF32({out, in}, w), DType::kF32);
      for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 12, 13, 19}) {
        const std::vector<float> x = RandomFloats(rows * in, 2);
        ExpectNear(Multiply(packed, x, rows, 1), w, x, rows, in, out);
      }
    }
  }
}

TEST_P(MatMulTest, ManyRowsInSeveralBlocks) {
  const int64_t in = 530, out = 70, rows = 410;
  const std::vector<float> w = RandomFloats(in * out, 1), x = RandomFloats(rows * in, 2);
  const PackedMatrix packed(Tensor::FromF32({out, in}, w), DType::kF32);
  ExpectNear(Multiply(packed, x, rows, 2), w, x, rows, in, out);
}

// The promise on which batching rests.
TEST_P(MatMulTest, RowsDoNotDependOnBatchNorThreads) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const int64_t in = 530, out = 75, rows = 203;
    const PackedMatrix packed(Tensor::FromF32({out, in}, RandomFloats(in * out, 1)), type);
    const std::vector<float> x = RandomFloats(rows * in, 2);
    const std::vector<float> all = Multiply(packed, x, rows, 2);
    EXPECT_EQ(Multiply(packed, x, rows, 1), all);
    EXPECT_EQ(Multiply(packed, x, rows, 3), all);
    for (const int64_t count : {1, 2, 3, 4, 5, 6, 11, 13, 100, 193}) {
      const std::vector<float> part = Multiply(packed, std::span(x).first(count * in), count, 1);
      EXPECT_EQ(part, std::vector<float>(all.begin(), all.begin() + count * out)) << count;
    }
    const std::vector<float> last = Multiply(packed, std::span(x).last(in), 1, 2);
    EXPECT_EQ(last, std::vector<float>(all.end() - out, all.end()));
  }
}

// bf16 weights are exactly the f32 product with rounded weights.
TEST_P(MatMulTest, Bf16EqualsRoundedF32BitForBit) {
  for (const int64_t rows : {1, 5, 40}) {
    const int64_t in = 300, out = 37;
    const std::vector<float> w = RandomFloats(in * out, 1);
    std::vector<float> rounded;
    for (const float v : w) rounded.push_back(F32FromBF16(BF16FromF32(v)));
    const std::vector<float> x = RandomFloats(rows * in, 2);
    EXPECT_EQ(Multiply(PackedMatrix(Tensor::FromF32({out, in}, w), DType::kBF16), x, rows, 1),
              Multiply(PackedMatrix(Tensor::FromF32({out, in}, rounded), DType::kF32), x, rows, 1));
  }
}

TEST_P(MatMulTest, AccumulatesOntoTheTarget) {
  for (const int64_t rows : {3, 40}) {
    const int64_t in = 300, out = 37;
    const std::vector<float> w = RandomFloats(in * out, 1), x = RandomFloats(rows * in, 2);
    const PackedMatrix packed(Tensor::FromF32({out, in}, w), DType::kF32);
    std::vector<float> y = RandomFloats(rows * out, 3);
    const std::vector<float> before = y;
    ThreadPool pool(2);
    MatMul(packed, x.data(), rows, y.data(), /*accumulate=*/true, pool);
    for (size_t i = 0; i < y.size(); ++i) y[i] -= before[i];
    ExpectNear(y, w, x, rows, in, out);
  }
}

RONDO_KERNEL_TEST(MatMulTest);

TEST(PackedMatrix, TakesQuantisedTensors) {
  std::vector<std::byte> block(34);  // q8_0: scale 0.5 as f16, then 32 bytes
  block[1] = std::byte{0x38};
  for (int i = 0; i < 32; ++i) block[static_cast<size_t>(2 + i)] = std::byte(i);
  const PackedMatrix packed(Tensor::FromBytes(DType::kQ8_0, {1, 32}, block), DType::kF32);
  const std::vector<float> ones(32, 1.0f);
  EXPECT_EQ(Multiply(packed, ones, 1, 1)[0], 0.5f * 31 * 32 / 2);
}

TEST(PackedMatrix, RefusesOtherTypes) {
  const Tensor w = Tensor::FromF32({2, 2}, std::vector<float>(4));
  EXPECT_THROW(PackedMatrix(w, DType::kF16), Error);
}

}  // namespace
}  // namespace rondo
