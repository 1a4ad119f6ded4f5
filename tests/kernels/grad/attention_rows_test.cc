// One head's attention and its gradients beside the definition in double precision.
#include "kernels/grad/attention_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/kernel_testing.h"

namespace rondo {
namespace {

using Vec = std::vector<double>;

struct Head {
  int64_t queries, keys, dim, prefix = 0;
  float scale = 1, softcap = 0;
  std::vector<int32_t> ranges;  // [queries, 2]

  bool Sees(int64_t query, int64_t key) const {
    const int64_t at = key - prefix;
    return at < 0 || (at >= ranges[2 * query] && at < ranges[2 * query + 1]);
  }
};

// The inputs one behind the other: q, k, v.
Vec Output(const Head& h, const Vec& in) {
  const double *q = in.data(), *k = q + h.queries * h.dim, *v = k + h.keys * h.dim;
  Vec out(static_cast<size_t>(h.queries * h.dim));
  for (int64_t i = 0; i < h.queries; ++i) {
    double total = 0;
    Vec sum(static_cast<size_t>(h.dim));
    for (int64_t j = 0; j < h.keys; ++j) {
      if (!h.Sees(i, j)) continue;
      double score = 0;
      for (int64_t c = 0; c < h.dim; ++c) score += q[i * h.dim + c] * k[j * h.dim + c];
      score *= h.scale;
      if (h.softcap > 0) score = h.softcap * std::tanh(score / h.softcap);
      total += std::exp(score);
      for (int64_t c = 0; c < h.dim; ++c) sum[c] += std::exp(score) * v[j * h.dim + c];
    }
    for (int64_t c = 0; c < h.dim && total > 0; ++c) out[i * h.dim + c] = sum[c] / total;
  }
  return out;
}

void ExpectAsDefined(const Head& h) {
  const int64_t d = h.dim;
  const std::vector<float> q = RandomFloats(h.queries * d, 1), k = RandomFloats(h.keys * d, 2),
                           v = RandomFloats(h.keys * d, 3), dout = RandomFloats(h.queries * d, 4);
  std::vector<float> out(q.size()), lse(static_cast<size_t>(h.queries)), dq(q.size()), dk(k.size()),
      dv(v.size());
  const AttentionRows rows{.q = {q.data(), d},
                           .k = {k.data(), d},
                           .v = {v.data(), d},
                           .queries = h.queries,
                           .keys = h.keys,
                           .head_dim = d,
                           .ranges = h.ranges.data(),
                           .prefix = h.prefix,
                           .scale = h.scale,
                           .softcap = h.softcap};
  AttentionForward(rows, {out.data(), d}, lse.data());
  AttentionBackward(rows, {out.data(), d}, lse.data(), {dout.data(), d}, {dq.data(), d},
                    {dk.data(), d}, {dv.data(), d});

  Vec in(q.begin(), q.end());
  in.insert(in.end(), k.begin(), k.end());
  in.insert(in.end(), v.begin(), v.end());
  const Vec expected = Output(h, in);
  for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 2e-6) << i;
  const auto loss = [&](size_t at, double step) {
    Vec moved = in;
    moved[at] += step;
    const Vec result = Output(h, moved);
    double sum = 0;
    for (size_t i = 0; i < result.size(); ++i) sum += dout[i] * result[i];
    return sum;
  };
  std::vector<float> gradient(dq);
  gradient.insert(gradient.end(), dk.begin(), dk.end());
  gradient.insert(gradient.end(), dv.begin(), dv.end());
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double slope = (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5;
    ASSERT_NEAR(gradient[i], slope, 2e-5 * (1 + std::abs(slope))) << i;
  }
}

std::vector<int32_t> Causal(int64_t queries, int64_t window) {
  std::vector<int32_t> ranges;
  for (int32_t i = 0; i < queries; ++i) {
    ranges.push_back(window > 0 ? std::max<int32_t>(0, i + 1 - static_cast<int32_t>(window)) : 0);
    ranges.push_back(i + 1);
  }
  return ranges;
}

class AttentionRowsTest : public KernelTest {};

TEST_P(AttentionRowsTest, LengthsAndDimensionsAroundThePanels) {
  for (const int64_t dim : {1, 8, 17}) {
    for (const int64_t length : {1, 2, 15, 17, 35}) {
      SCOPED_TRACE(testing::Message() << dim << " × " << length);
      ExpectAsDefined({.queries = length,
                       .keys = length,
                       .dim = dim,
                       .scale = 1 / std::sqrt(static_cast<float>(dim)),
                       .ranges = Causal(length, 0)});
    }
  }
}

TEST_P(AttentionRowsTest, PrefixWindowAndCap) {
  ExpectAsDefined({.queries = 19,
                   .keys = 22,
                   .dim = 8,
                   .prefix = 3,
                   .scale = 0.5f,
                   .softcap = 2,
                   .ranges = Causal(19, 5)});
}

TEST_P(AttentionRowsTest, AQueryThatSeesNothingGivesZeros) {
  std::vector<int32_t> ranges = Causal(6, 0);
  ranges[4] = ranges[5] = 2;
  ExpectAsDefined({.queries = 6, .keys = 6, .dim = 4, .ranges = ranges});
}

RONDO_KERNEL_TEST(AttentionRowsTest);

}  // namespace
}  // namespace rondo
