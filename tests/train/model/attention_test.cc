// The attention of training steps against LibTorch's operations in double precision.
#include "train/model/attention.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "kernels/simd_targets.h"

namespace rondo {
namespace {

struct Shape {
  int64_t rows, heads, queries, keys, head_dim;
};

at::Tensor Random(at::IntArrayRef sizes, double scale = 1) {
  return at::randn(sizes, at::kFloat) * scale;
}

Heads RandomHeads(const Shape& s, double scale = 1) {
  return {Random({s.rows, s.heads, s.queries, s.head_dim}, scale),
          Random({s.rows, s.heads, s.keys, s.head_dim}, scale),
          Random({s.rows, s.heads, s.keys, s.head_dim})};
}

// softmax over what is visible, written out; zeros where nothing is.
at::Tensor Reference(const Heads& heads, const at::Tensor& ranges, const AttentionOptions& o) {
  at::Tensor scores = heads.q.matmul(heads.k.transpose(2, 3)) * o.scale;
  if (o.softcap > 0) scores = at::tanh(scores / o.softcap) * o.softcap;
  const at::Tensor key = at::arange(heads.k.size(2)).view({1, 1, 1, -1});
  const at::Tensor begin = ranges.select(2, 0).unsqueeze(1).unsqueeze(3) + o.prefix;
  const at::Tensor end = ranges.select(2, 1).unsqueeze(1).unsqueeze(3) + o.prefix;
  const at::Tensor visible = (key < o.prefix) | ((key >= begin) & (key < end));
  const at::Tensor weights = scores.exp() * visible;
  return weights.matmul(heads.v) / weights.sum(-1, true).clamp_min(1e-300);
}

double ErrorBeside(const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& scale) {
  const at::Tensor difference = (got.to(at::kDouble) - wanted).norm();
  return (difference / scale.norm().clamp_min(1e-12)).item<double>();
}

double RelativeError(const at::Tensor& got, const at::Tensor& wanted) {
  return ErrorBeside(got, wanted, wanted);
}

void ExpectAsReference(const Heads& given, const at::Tensor& ranges, const AttentionOptions& o) {
  std::vector<at::Tensor> single, exact;
  for (const at::Tensor& t : {given.q, given.k, given.v}) {
    single.push_back(t.detach().clone().requires_grad_(true));
    exact.push_back(t.detach().to(at::kDouble).requires_grad_(true));
  }
  const at::Tensor y = AttentionOp({single[0], single[1], single[2]}, ranges, o);
  const at::Tensor wanted = Reference({exact[0], exact[1], exact[2]}, ranges, o);
  ASSERT_EQ(y.sizes(), wanted.sizes());
  EXPECT_LT(RelativeError(y, wanted), 3e-6);
  const at::Tensor dy = Random(y.sizes());
  torch::autograd::backward({y}, {dy});
  torch::autograd::backward({wanted}, {dy.to(at::kDouble)});
  // Beside the output's gradient: where a query sees one key, those of q and k are zero.
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LT(ErrorBeside(single[i].grad(), exact[i].grad(), dy), 1e-5) << "input " << i;
  }
}

TEST(Attention, EveryLengthAndHeadDimension) {
  at::manual_seed(1);
  for (const int64_t dim : {1, 8, 24, 64, 80, 128}) {
    for (const int64_t length : {1, 2, 15, 16, 17, 31, 33, 64, 100, 257}) {
      SCOPED_TRACE(std::to_string(dim) + " × " + std::to_string(length));
      const Heads heads = RandomHeads({2, 3, length, length, dim});
      const AttentionOptions options = {.scale = 1 / std::sqrt(static_cast<double>(dim))};
      ExpectAsReference(heads, CausalRanges(length, 0), options);
      ExpectAsReference(heads, LengthRanges(std::span(&length, 1), length), options);
    }
  }
}

TEST(Attention, WindowsPrefixesAndCaps) {
  at::manual_seed(2);
  for (const int window : {0, 1, 5, 40}) {
    for (const int64_t prefix : {0, 1, 3, 20}) {
      for (const double cap : {0.0, 2.0}) {
        SCOPED_TRACE(std::to_string(window) + ", " + std::to_string(prefix) + ", " +
                     std::to_string(cap));
        ExpectAsReference(RandomHeads({2, 2, 75, 75 + prefix, 12}), CausalRanges(75, window),
                          {.scale = 0.3, .softcap = cap, .prefix = prefix});
      }
    }
  }
}

// Any range for any query of any row, some of them empty, and more or fewer keys than queries.
TEST(Attention, AnyRanges) {
  at::manual_seed(3);
  for (const int64_t keys : {1, 7, 50, 130}) {
    const at::Tensor begin = at::randint(keys + 1, {3, 70}, at::kInt);
    const at::Tensor end =
        at::minimum(begin + at::randint(40, {3, 70}, at::kInt), at::full({3, 70}, keys, at::kInt));
    ExpectAsReference(RandomHeads({3, 2, 70, keys, 20}), at::stack({begin, end}, 2),
                      {.scale = 0.2});
  }
  const at::Tensor nothing = at::zeros({1, 40, 2}, at::kInt);
  Heads heads = RandomHeads({2, 2, 40, 9, 16});
  heads.q.requires_grad_(true);
  const at::Tensor y = AttentionOp(heads, nothing, {});
  y.sum().backward();
  EXPECT_EQ(y.abs().max().item<float>(), 0);
  EXPECT_EQ(heads.q.grad().abs().max().item<float>(), 0);
}

// Scores far beyond what exp takes, with the largest key in or out of sight.
TEST(Attention, LargeScores) {
  at::manual_seed(4);
  const Heads heads = RandomHeads({1, 2, 48, 48, 16}, /*scale=*/20);
  const at::Tensor y = AttentionOp(heads, CausalRanges(48, 0), {});
  const at::Tensor scores = heads.q.to(at::kDouble).matmul(heads.k.to(at::kDouble).transpose(2, 3));
  const at::Tensor hidden = at::ones({48, 48}, at::kBool).triu(1);
  const at::Tensor weights =
      at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
  EXPECT_LT(RelativeError(y, weights.matmul(heads.v.to(at::kDouble))), 1e-3);
  EXPECT_TRUE(at::isfinite(y).all().item<bool>());
}

TEST(Attention, EveryInstructionSet) {
  at::manual_seed(6);
  for (const std::string& target : KernelTargets()) {
    SCOPED_TRACE(target);
    SetKernelTarget(target);
    for (const int64_t dim : {8, 24, 64}) {
      ExpectAsReference(RandomHeads({2, 2, 50, 53, dim}), CausalRanges(50, 20),
                        {.scale = 0.2, .softcap = 5, .prefix = 3});
    }
  }
  SetKernelTarget("auto");
}

TEST(Attention, ThreadsChangeNothing) {
  at::manual_seed(5);
  const Heads heads = RandomHeads({3, 5, 90, 90, 24});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor alone = AttentionOp(heads, CausalRanges(90, 0), {.scale = 0.2});
  at::set_num_threads(4);
  EXPECT_TRUE(alone.equal(AttentionOp(heads, CausalRanges(90, 0), {.scale = 0.2})));
  at::set_num_threads(threads);
}

TEST(Attention, RangesOfLengthsAndWindows) {
  EXPECT_TRUE(CausalRanges(3, 0).equal(at::tensor({0, 1, 0, 2, 0, 3}, at::kInt).view({1, 3, 2})));
  EXPECT_TRUE(CausalRanges(3, 2).equal(at::tensor({0, 1, 0, 2, 1, 3}, at::kInt).view({1, 3, 2})));
  const std::vector<int64_t> lengths = {4, 1};
  EXPECT_TRUE(LengthRanges(lengths, 2)
                  .equal(at::tensor({0, 4, 0, 4, 0, 1, 0, 1}, at::kInt).view({2, 2, 2})));
}

}  // namespace
}  // namespace rondo
