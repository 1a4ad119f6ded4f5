// Products against LibTorch's in double precision.
#include "train/matmul.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace rondo {
namespace {

at::Tensor Random(at::IntArrayRef sizes, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(sizes, generator, at::kFloat);
}

void ExpectNear(const at::Tensor& a, const at::Tensor& exact) {
  ASSERT_EQ(a.sizes(), exact.sizes());
  const double scale = exact.abs().max().item<double>();
  EXPECT_LE((a.to(at::kDouble) - exact).abs().max().item<double>(), 1e-6 * scale);
}

TEST(MatMul, TakesTransposedViewsOfAnyShape) {
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {1, 65, 33}, {37, 1, 64}, {64, 192, 64}, {129, 30, 100}, {512, 96, 384}}) {
    const at::Tensor a = Random({m, k}, 1), b = Random({k, n}, 2);
    const at::Tensor exact = a.to(at::kDouble).mm(b.to(at::kDouble));
    const at::Tensor a_t = a.t().contiguous().t(), b_t = b.t().contiguous().t();
    ExpectNear(MatMul(a, b), exact);
    ExpectNear(MatMul(a_t, b), exact);
    ExpectNear(MatMul(a, b_t), exact);
    ExpectNear(MatMul(a_t, b_t), exact);
    // Rows of a larger matrix, as the layers of a merged one are.
    const at::Tensor wide = at::cat({b, b, b}, 1);
    ExpectNear(MatMul(a, wide.narrow(1, n, n)), exact);
  }
}

TEST(LinearOp, IsALinearLayerAndItsGradients) {
  for (const bool biased : {true, false}) {
    const at::Tensor x = Random({3, 17, 40}, 3).requires_grad_(true);
    const at::Tensor w = Random({24, 40}, 4).requires_grad_(true);
    const at::Tensor bias = biased ? Random({24}, 5).requires_grad_(true) : at::Tensor();
    const at::Tensor dy = Random({3, 17, 24}, 6);
    const at::Tensor y = LinearOp(x, w, bias);
    torch::autograd::backward({y}, {dy});
    const at::Tensor x64 = x.detach().to(at::kDouble), w64 = w.detach().to(at::kDouble);
    const at::Tensor dy64 = dy.to(at::kDouble);
    at::Tensor exact = x64.matmul(w64.t());
    if (biased) exact = exact + bias.detach();
    ExpectNear(y.detach(), exact);
    ExpectNear(x.grad(), dy64.matmul(w64));
    ExpectNear(w.grad(), dy64.view({-1, 24}).t().mm(x64.view({-1, 40})));
    if (biased) ExpectNear(bias.grad(), dy64.sum({0, 1}));
  }
}

TEST(LinearOp, MakesNoGraphForWhatIsFrozen) {
  const at::Tensor x = Random({5, 8}, 7), w = Random({4, 8}, 8).requires_grad_(true);
  {
    const at::NoGradGuard no_grad;
    EXPECT_FALSE(LinearOp(x, w).requires_grad());
  }
  EXPECT_FALSE(LinearOp(x, w.detach()).requires_grad());
  const at::Tensor y = LinearOp(x, w);
  torch::autograd::backward({y}, {Random({5, 4}, 9)});
  EXPECT_FALSE(x.grad().defined());
  EXPECT_TRUE(w.grad().defined());
}

TEST(LinearOp, TakesNoRowsAtAll) {
  EXPECT_EQ(LinearOp(at::empty({0, 8}), Random({4, 8}, 1)).sizes(), (std::vector<int64_t>{0, 4}));
}

}  // namespace
}  // namespace rondo
