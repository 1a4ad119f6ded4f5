#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <set>
#include <thread>

#include "train/model/fused.h"

namespace rondo {
namespace {

at::Tensor Ones(at::IntArrayRef sizes) { return at::ones(sizes, at::kFloat); }

at::Tensor DropWithSeed(const at::Tensor& x, double rate, uint64_t seed) {
  at::manual_seed(seed);
  return DropoutOp(x, rate);
}

TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  for (const double rate : {0.05, 0.3, 0.9}) {
    const at::Tensor y = DropWithSeed(Ones({1000, 1003}), rate, 1);
    const double dropped = y.eq(0).to(at::kDouble).mean().item<double>();
    // Five standard deviations of a million draws.
    EXPECT_NEAR(dropped, rate, 5 * std::sqrt(rate * (1 - rate) / 1e6));
    const at::Tensor kept = y.masked_select(y.ne(0));
    EXPECT_EQ(kept.min().item<float>(), kept.max().item<float>());
    EXPECT_NEAR(kept[0].item<double>(), 1 / (1 - rate), 1e-5 / (1 - rate));
  }
}

TEST(Dropout, FollowsFromTheSeedAndChangesFromCallToCall) {
  const at::Tensor x = Ones({64, 96});
  const at::Tensor first = DropWithSeed(x, 0.5, 3), second = DropoutOp(x, 0.5);
  EXPECT_TRUE(first.equal(DropWithSeed(x, 0.5, 3)));
  EXPECT_FALSE(first.equal(second));
  EXPECT_FALSE(first.equal(DropWithSeed(x, 0.5, 4)));
}

// Elements, rows and calls know nothing of each other.
TEST(Dropout, DrawsAreIndependent) {
  const at::Tensor x = Ones({1 << 20});
  const at::Tensor a = DropWithSeed(x, 0.5, 5) - 1, b = DropoutOp(x, 0.5) - 1;  // -1 and 1
  const auto correlation = [](const at::Tensor& p, const at::Tensor& q) {
    return (p * q).mean().item<double>();
  };
  const double deviation = 1.0 / 1024;
  EXPECT_LT(std::abs(correlation(a, b)), 5 * deviation);
  for (const int64_t lag : {1, 2, 3, 16, 96, 1024, 65536}) {
    const int64_t rest = (1 << 20) - lag;
    EXPECT_LT(std::abs(correlation(a.narrow(0, 0, rest), a.narrow(0, lag, rest))), 5.2 * deviation)
        << lag;
  }
}

TEST(Dropout, GradientsPassWhereValuesDid) {
  const at::Tensor x = at::full({7, 33}, 2.0f).requires_grad_(true);
  const at::Tensor y = DropWithSeed(x, 0.25, 6);
  torch::autograd::backward({y}, {Ones({33, 7}).t()});
  EXPECT_TRUE(x.grad().equal(y.detach() / 2));
}

TEST(Dropout, DoesNotDependOnThreads) {
  const at::Tensor x = Ones({97, 101});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = DropWithSeed(x, 0.1, 7);
  at::set_num_threads(3);
  EXPECT_TRUE(one.equal(DropWithSeed(x, 0.1, 7)));
  at::set_num_threads(threads);
}

TEST(Dropout, RateZeroChangesNothing) {
  const at::Tensor x = Ones({3, 3});
  EXPECT_TRUE(DropoutOp(x, 0).is_same(x));
}

// LibTorch's loops run on one thread, without a word, where the compiler does not know OpenMP.
TEST(ForParts, EveryPartHasAThreadOfItsOwn) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  int64_t covered = 0;
  ForParts(101, [&](int, int64_t begin, int64_t end) {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    covered += end - begin;
  });
  at::set_num_threads(before);
  EXPECT_EQ(covered, 101);
  EXPECT_EQ(threads.size(), 2u);
}

}  // namespace
}  // namespace rondo
