#include "quant/feedback.h"

#include <gmock/gmock.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "fold/moments.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr int64_t kIn = 256, kOut = 70;  // one K block; rows of two tasks, one of them short

MatrixF64 Random(uint64_t seed, int64_t rows, int64_t cols) {
  Rng rng(seed);
  MatrixF64 m(rows, cols);
  for (int64_t i = 0; i < rows * cols; ++i) m.data()[i] = rng.Normal();
  return m;
}

// Moment of inputs that lie near 24 directions, as activations do.
MatrixF64 CorrelatedMoment(uint64_t seed) {
  const MatrixF64 directions = Random(seed, 24, kIn);
  MatrixF64 moment = Multiply(Op::kTranspose, directions, Op::kPlain, directions);
  Damp(moment, 1e-2);
  return moment;
}

double Cost(const MatrixF64& weight, const Tensor& rounded, const MatrixF64& moment) {
  MatrixF64 error = Widen(ToF32(rounded), weight.rows(), weight.cols());
  for (int64_t i = 0; i < weight.rows() * weight.cols(); ++i) {
    error.data()[i] -= weight.data()[i];
  }
  const MatrixF64 mapped = Multiply(error, moment);
  double cost = 0;
  for (int64_t i = 0; i < weight.rows() * weight.cols(); ++i) {
    cost += mapped.data()[i] * error.data()[i];
  }
  return cost;
}

Tensor Nearest(const MatrixF64& weight, DType dtype) {
  return Cast(Tensor::FromF32({weight.rows(), weight.cols()}, Narrow(weight)), dtype);
}

TEST(FeedbackTest, FactorIsTheUpperRootOfTheInverse) {
  const MatrixF64 moment = CorrelatedMoment(1);
  const MatrixF32 factor = FeedbackFactor(moment);
  MatrixF64 wide = Widen(factor.values(), kIn, kIn);
  for (int64_t i = 0; i < kIn; ++i) {
    for (int64_t j = 0; j < i; ++j) ASSERT_EQ(factor(i, j), 0) << i << ", " << j;
  }
  // U H Uᵀ = I. Its entries are sums of kIn² products; those of U are rounded to f32 (2^-24), and
  // ‖U‖‖H‖‖U‖ is at most the condition number, the largest eigenvalue over the ridge.
  const MatrixF64 unit = Multiply(Op::kPlain, Multiply(wide, moment), Op::kTranspose, wide);
  const double ridge = 1e-2 * 24, largest = kIn * 6.0;  // trace of 24 directions, spread 6 at most
  const double tolerance = 0x1p-24 * 2 * largest / ridge;
  for (int64_t i = 0; i < kIn; ++i) {
    for (int64_t j = 0; j < kIn; ++j) ASSERT_NEAR(unit(i, j), i == j ? 1 : 0, tolerance);
  }
}

class Feedback : public testing::TestWithParam<DType> {};

TEST_P(Feedback, OutputsChangeLessThanByRoundingToNearest) {
  ThreadPool pool(2);
  const MatrixF64 weight = Random(3, kOut, kIn), moment = CorrelatedMoment(4);
  const Tensor fitted = RoundWithFeedback(weight, FeedbackFactor(moment), GetParam(), pool);
  EXPECT_EQ(fitted.dtype(), GetParam());
  // 24 directions leave most of the 256 columns free to make good what others lost.
  EXPECT_LT(Cost(weight, fitted, moment), 0.5 * Cost(weight, Nearest(weight, GetParam()), moment));
}

TEST_P(Feedback, ThreadsDoNotChangeTheBytes) {
  ThreadPool one(1), three(3);
  const MatrixF64 weight = Random(5, 3 * kOut, kIn);
  const MatrixF32 factor = FeedbackFactor(CorrelatedMoment(6));
  const Tensor a = RoundWithFeedback(weight, factor, GetParam(), one);
  const Tensor b = RoundWithFeedback(weight, factor, GetParam(), three);
  EXPECT_TRUE(std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin()));
}

// Every pass lowers the sum or leaves it; the first makes good what feedback could not know.
TEST_P(Feedback, RefiningNeverLosesAndMostlyGains) {
  ThreadPool one(1), three(3);
  const MatrixF64 weight = Random(7, kOut, kIn), moment = CorrelatedMoment(8);
  const Tensor start = RoundWithFeedback(weight, FeedbackFactor(moment), GetParam(), one);
  const Tensor once = RefineRounding(weight, moment, start, 1, one);
  const Tensor often = RefineRounding(weight, moment, start, 5, one);
  const double before = Cost(weight, start, moment);
  // The sums that decide are in f32.
  EXPECT_LE(Cost(weight, often, moment), Cost(weight, once, moment) * (1 + 1e-5));
  if (Info(GetParam()).block_length == 32) {
    EXPECT_LT(Cost(weight, once, moment), 0.97 * before);
  } else {
    EXPECT_EQ(Cost(weight, once, moment), before);
  }
  const Tensor again = RefineRounding(weight, moment, start, 5, three);
  EXPECT_TRUE(std::equal(often.bytes().begin(), often.bytes().end(), again.bytes().begin()));
}

INSTANTIATE_TEST_SUITE_P(AllTypes, Feedback,
                         testing::Values(DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                         DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                                         DType::kQ2_0, DType::kQ2_1, DType::kQ3_0, DType::kQ3_1),
                         [](const auto& type) { return std::string(Info(type.param).name); });

TEST(FeedbackTest, RefusesAFactorOfAnotherSize) {
  ThreadPool pool(1);
  EXPECT_THROW(
      RoundWithFeedback(Random(1, 4, 64), FeedbackFactor(CorrelatedMoment(1)), DType::kQ4_0, pool),
      Error);
}

TEST(FeedbackTest, RefusesWeightsThatAreNotFinite) {
  ThreadPool pool(1);
  MatrixF64 weight = Random(1, 4, kIn);
  weight(2, 17) = NAN;
  EXPECT_THROW(RoundWithFeedback(weight, FeedbackFactor(CorrelatedMoment(1)), DType::kQ4_0, pool),
               Error);
}

}  // namespace
}  // namespace rondo
