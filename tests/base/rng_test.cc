#include "base/rng.h"

#include <gtest/gtest.h>

namespace rondo {
namespace {

// From an independent implementation of xoshiro256++ seeded by splitmix64 in Python integers.
TEST(Rng, TheSequenceOfASeedNeverChanges) {
  Rng zero(0);
  for (const uint64_t expected :
       {0x53175d61490b23dfu, 0x61da6f3dc380d507u, 0x5c0fdf91ec9a7bfcu, 0x02eebf8c3bbe5e1au}) {
    EXPECT_EQ(zero.Next(), expected);
  }
  Rng other(42);
  for (const uint64_t expected : {0xd0764d4f4476689fu, 0x519e4174576f3791u, 0xfbe07cfb0c24ed8cu}) {
    EXPECT_EQ(other.Next(), expected);
  }
}

TEST(Rng, UniformStaysBelowOneWithTheRightMoments) {
  Rng rng(1);
  constexpr int kDraws = 100'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.Uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    squares += x * x;
  }
  // Standard error of the mean is sqrt(1/12/n) = 0.0009; of the mean square sqrt(4/45/n) = 0.0009.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.0009);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 5 * 0.0009);
}

TEST(Rng, NormalHasMeanZeroAndVarianceOne) {
  Rng rng(2);
  constexpr int kDraws = 100'000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.Normal();
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  // Standard errors: 1/sqrt(n) = 0.0032, sqrt(2/n) = 0.0045, sqrt(96/n) = 0.031.
  EXPECT_NEAR(sum / kDraws, 0, 5 * 0.0032);
  EXPECT_NEAR(squares / kDraws, 1, 5 * 0.0045);
  EXPECT_NEAR(fourth / kDraws, 3, 5 * 0.031);
}

}  // namespace
}  // namespace rondo
