// Products against LibTorch's in double precision.
#include "train/model/matmul.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>
#include <vector>

namespace rondo {
namespace {

at::Tensor Random(at::IntArrayRef sizes, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(sizes, generator, at::kFloat);
}

// Sums in f32, and half a unit in the last place of the type that products are rounded to.
void ExpectNear(const at::Tensor& a, const at::Tensor& exact,
                at::ScalarType operands = at::kFloat) {
  ASSERT_EQ(a.sizes(), exact.sizes());
  ASSERT_EQ(a.scalar_type(), at::kFloat);
  const double scale = exact.abs().max().item<double>();
  const double rounding = operands == at::kBFloat16 ? 0x1p-8 : 0;
  const at::Tensor excess = (a.to(at::kDouble) - exact).abs() - rounding * exact.abs();
  EXPECT_LE(excess.max().item<double>(), 1e-6 * scale);
}

// What a product sees of an operand.
at::Tensor Seen(const at::Tensor& a, at::ScalarType operands) {
  return a.detach().to(operands).to(at::kDouble);
}

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16};

TEST(MatMul, TakesTransposedViewsOfAnyShape) {
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {1, 65, 33}, {37, 1, 64}, {64, 192, 64}, {129, 30, 100}, {512, 96, 384}}) {
    const at::Tensor a = Random({m, k}, 1), b = Random({k, n}, 2);
    const at::Tensor a_t = a.t().contiguous().t(), b_t = b.t().contiguous().t();
    // Rows of a larger matrix, as the layers of a merged one are.
    const at::Tensor wide = at::cat({b, b, b}, 1);
    for (const at::ScalarType type : kTypes) {
      const at::Tensor exact = Seen(a, type).mm(Seen(b, type));
      ExpectNear(MatMul(a, b, type), exact, type);
      ExpectNear(MatMul(a_t, b, type), exact, type);
      ExpectNear(MatMul(a, b_t, type), exact, type);
      ExpectNear(MatMul(a_t, b_t, type), exact, type);
      ExpectNear(MatMul(a, wide.narrow(1, n, n), type), exact, type);
    }
  }
}

TEST(LinearOp, IsALinearLayerAndItsGradients) {
  for (const auto& [biased, type] :
       std::vector<std::pair<bool, at::ScalarType>>{{true, at::kFloat},
                                                    {false, at::kFloat},
                                                    {true, at::kBFloat16},
                                                    {false, at::kBFloat16}}) {
    const at::Tensor x = Random({3, 17, 40}, 3).requires_grad_(true);
    const at::Tensor w = Random({24, 40}, 4).requires_grad_(true);
    const at::Tensor bias = biased ? Random({24}, 5).requires_grad_(true) : at::Tensor();
    const at::Tensor dy = Random({3, 17, 24}, 6);
    const at::Tensor y = LinearOp(x, w, bias, type);
    torch::autograd::backward({y}, {dy});
    const at::Tensor x64 = Seen(x, type), w64 = Seen(w, type), dy64 = Seen(dy, type);
    const at::Tensor product = x64.matmul(w64.t());
    const at::Tensor added = biased ? bias.detach() : at::zeros({24});
    // The bias comes on top of a product that is rounded already.
    ExpectNear(y.detach() - added, product, type);
    ExpectNear(x.grad(), dy64.matmul(w64), type);
    ExpectNear(w.grad(), dy64.view({-1, 24}).t().mm(x64.view({-1, 40})), type);
    if (biased) ExpectNear(bias.grad(), dy.to(at::kDouble).sum({0, 1}));
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
