// The fused losses over the vocabulary beside their definitions in double precision.
#include "kernels/grad/vocab_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/rng.h"
#include "kernels/kernel_testing.h"

namespace rondo {
namespace {

class VocabLossTest : public KernelTest {};

using Vec = std::vector<double>;

constexpr KdKind kKinds[] = {KdKind::kForwardKl, KdKind::kReverseKl, KdKind::kJensenShannon,
                             KdKind::kTotalVariation, KdKind::kSymmetricKl};

Vec Softmax(const Vec& z, double temperature) {
  double largest = -1e300, sum = 0;
  for (const double v : z) largest = std::max(largest, v);
  Vec p;
  for (const double v : z) p.push_back(std::exp((v - largest) / temperature));
  for (const double v : p) sum += v;
  for (double& v : p) v /= sum;
  return p;
}

double Divergence(const VocabLoss& loss, const Vec& z, const Vec& t) {
  const Vec s = Softmax(z, loss.temperature), q = Softmax(t, loss.temperature);
  double value = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    const double mixed = loss.js_lambda * q[i] + (1 - loss.js_lambda) * s[i];
    switch (loss.kind) {
      case KdKind::kForwardKl:
        value += q[i] * std::log(q[i] / s[i]);
        break;
      case KdKind::kReverseKl:
        value += s[i] * std::log(s[i] / q[i]);
        break;
      case KdKind::kJensenShannon:
        value += loss.js_lambda * q[i] * std::log(q[i] / mixed) +
                 (1 - loss.js_lambda) * s[i] * std::log(s[i] / mixed);
        break;
      case KdKind::kSymmetricKl:
        value += 0.5 * (s[i] - q[i]) * std::log(s[i] / q[i]);
        break;
      case KdKind::kTotalVariation:
        value += 0.5 * std::abs(s[i] - q[i]);
        break;
    }
  }
  return value * loss.temperature * loss.temperature;
}

Vec Capped(Vec z, double cap) {
  for (double& v : z) v = cap > 0 ? cap * std::tanh(v / cap) : v;
  return z;
}

struct Reference {
  double ce, kd;
  Vec gradient;
};

// Gradients by differences in double precision, exact to about 1e-9.
Reference Evaluate(const VocabLoss& loss, const Vec& raw, const Vec& t, int target) {
  const auto ce = [&](const Vec& z) {
    return -std::log(Softmax(Capped(z, loss.softcap), 1)[target]);
  };
  const auto kd = [&](const Vec& z) { return Divergence(loss, Capped(z, loss.softcap), t); };
  Reference out{target >= 0 ? ce(raw) : 0, kd(raw), {}};
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto total = [&](double step) {
      Vec z = raw;
      z[i] += step;
      return (target >= 0 ? loss.ce * ce(z) : 0) + loss.kd * kd(z);
    };
    out.gradient.push_back((total(1e-5) - total(-1e-5)) / 2e-5);
  }
  return out;
}

void ExpectMatches(const VocabLoss& loss, int vocab, int target) {
  Rng rng(static_cast<uint64_t>(vocab));
  std::vector<float> z, t;
  for (int i = 0; i < vocab; ++i) {
    z.push_back(static_cast<float>(3 * rng.Normal()));
    t.push_back(z.back() + static_cast<float>(rng.Normal()));
  }
  const Reference expected = Evaluate(loss, {z.begin(), z.end()}, {t.begin(), t.end()}, target);
  std::vector<float> scratch(2 * static_cast<size_t>(vocab));
  constexpr float kScale = 0.25f;
  const VocabLossValue value =
      VocabLossRow(loss, z.data(), t.data(), vocab, target, kScale, scratch.data());
  // Sums of `vocab` f32 terms that together are near one, and a logarithm near ten.
  const double limit = 0x1p-24 * std::sqrt(vocab) * 40;
  if (target >= 0) {
    EXPECT_NEAR(value.ce, expected.ce, limit);
  }
  EXPECT_NEAR(value.kd, expected.kd, limit);
  for (int i = 0; i < vocab; ++i) {
    EXPECT_NEAR(z[static_cast<size_t>(i)], kScale * expected.gradient[static_cast<size_t>(i)],
                limit)
        << i;
  }
}

TEST_P(VocabLossTest, EqualsTheDefinitions) {
  for (const KdKind kind : kKinds) {
    for (const float temperature : {1.0f, 2.5f}) {
      for (const float softcap : {0.0f, 5.0f}) {
        for (const int vocab : {1, 7, 16, 33, 100}) {
          SCOPED_TRACE(testing::Message() << static_cast<int>(kind) << " " << temperature << " "
                                          << softcap << " " << vocab);
          const VocabLoss loss = {.ce = 0.3f,
                                  .kd = 0.7f,
                                  .kind = kind,
                                  .temperature = temperature,
                                  .js_lambda = 0.3f,
                                  .softcap = softcap};
          ExpectMatches(loss, vocab, vocab / 2);
          ExpectMatches(loss, vocab, -1);
        }
      }
    }
  }
}

// Beyond one block of the sums, and an extreme teacher: nothing overflows or becomes NaN.
TEST_P(VocabLossTest, StaysFiniteAtExtremeLogits) {
  for (const KdKind kind : kKinds) {
    constexpr int kVocab = 5000;
    std::vector<float> z(kVocab, -300.0f), t(kVocab, 0.0f), scratch(2 * kVocab);
    z[7] = 300;
    t[9] = 1000;
    const VocabLoss loss = {.ce = 1, .kd = 1, .kind = kind};
    const VocabLossValue value =
        VocabLossRow(loss, z.data(), t.data(), kVocab, 9, 1, scratch.data());
    EXPECT_NEAR(value.ce, 600, 1e-3);
    EXPECT_TRUE(std::isfinite(value.kd));
    for (const float g : z) ASSERT_TRUE(std::isfinite(g));
    EXPECT_LT(z[9], -0.9f);  // the target's logit rises
  }
}

TEST_P(VocabLossTest, CrossEntropyAlone) {
  std::vector<float> z = {1, 2, 3}, copy = z, scratch(6);
  const double expected = std::log(std::exp(-2.0) + std::exp(-1.0) + 1);
  EXPECT_NEAR(CrossEntropyRow(copy.data(), 3, 2, 0), expected, 1e-6);
  const VocabLossValue value = VocabLossRow({.ce = 1}, z.data(), nullptr, 3, 2, 1, scratch.data());
  EXPECT_NEAR(value.ce, expected, 1e-6);
  EXPECT_TRUE(value.correct);
  EXPECT_NEAR(z[0] + z[1] + z[2], 0, 1e-6);
}

// The k most probable of t, with their log-probabilities.
struct KnownTokens {
  std::vector<int32_t> ids;
  std::vector<float> log_p;
  TopRow row() const { return {static_cast<int>(ids.size()), ids.data(), log_p.data()}; }
};

KnownTokens MostProbableOf(const Vec& t, int k) {
  const Vec p = Softmax(t, 1);
  KnownTokens known;
  for (size_t i = 0; i < p.size(); ++i) known.ids.push_back(static_cast<int32_t>(i));
  std::ranges::sort(known.ids, std::greater<>(), [&](int32_t id) { return p[id]; });
  known.ids.resize(static_cast<size_t>(k));
  for (const int32_t id : known.ids) known.log_p.push_back(static_cast<float>(std::log(p[id])));
  return known;
}

// KL over the known tokens and one outcome for all others, in double precision.
double TopDivergence(const KnownTokens& known, const Vec& z) {
  const Vec s = Softmax(z, 1);
  double value = 0, taught = 0, student = 0;
  for (size_t i = 0; i < known.ids.size(); ++i) {
    const double p = std::exp(known.log_p[i]);
    value += p * std::log(p / s[known.ids[i]]);
    taught += p;
    student += s[known.ids[i]];
  }
  if (known.ids.size() == z.size()) return value;
  return value + (1 - taught) * std::log((1 - taught) / (1 - student));
}

TEST_P(VocabLossTest, OfKnownTokensMatchesItsDefinition) {
  constexpr int kVocab = 37;
  for (const float cap : {0.0f, 4.0f}) {
    for (const int target : {-1, 3, 36}) {
      Rng rng(5);
      Vec raw, t;
      for (int i = 0; i < kVocab; ++i) {
        raw.push_back(static_cast<float>(2 * rng.Normal()));
        t.push_back(raw.back() + rng.Normal());
      }
      const KnownTokens known = MostProbableOf(t, 6);
      const VocabLoss loss = {.ce = 0.3f, .kd = 0.7f, .softcap = cap};
      const auto total = [&](const Vec& z) {
        const Vec capped = Capped(z, cap);
        const double ce = target >= 0 ? -std::log(Softmax(capped, 1)[target]) : 0;
        return 0.3 * ce + 0.7 * TopDivergence(known, capped);
      };
      std::vector<float> z(raw.begin(), raw.end()), scratch(2 * kVocab);
      const VocabLossValue value =
          TopLossRow(loss, z.data(), known.row(), kVocab, target, 1, scratch.data());
      EXPECT_NEAR(value.kd, TopDivergence(known, Capped(raw, cap)), 1e-5);
      for (int i = 0; i < kVocab; ++i) {
        Vec up = raw, down = raw;
        up[i] += 1e-5;
        down[i] -= 1e-5;
        EXPECT_NEAR(z[i], (total(up) - total(down)) / 2e-5, 3e-6) << i << " of " << target;
      }
    }
  }
}

// With every token known it is the whole divergence.
TEST_P(VocabLossTest, OfAllTokensIsForwardKl) {
  constexpr int kVocab = 50;
  Rng rng(8);
  std::vector<float> z, t, scratch(2 * kVocab);
  for (int i = 0; i < kVocab; ++i) {
    z.push_back(static_cast<float>(3 * rng.Normal()));
    t.push_back(static_cast<float>(3 * rng.Normal()));
  }
  const KnownTokens known = MostProbableOf({t.begin(), t.end()}, kVocab);
  std::vector<float> top = z;
  const VocabLoss loss = {.ce = 0.5f, .kd = 0.5f};
  const auto a = TopLossRow(loss, top.data(), known.row(), kVocab, 4, 1, scratch.data());
  const auto b = VocabLossRow(loss, z.data(), t.data(), kVocab, 4, 1, scratch.data());
  EXPECT_NEAR(a.kd, b.kd, 1e-5);
  EXPECT_NEAR(a.ce, b.ce, 1e-6);
  for (int i = 0; i < kVocab; ++i) EXPECT_NEAR(top[i], z[i], 1e-6);
}

RONDO_KERNEL_TEST(VocabLossTest);

}  // namespace
}  // namespace rondo
