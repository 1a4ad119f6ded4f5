// Bit-identical results however positions are grouped into steps, batches and threads.
#include <gtest/gtest.h>

#include "engine/engine_testing.h"
#include "rondo/engine.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Everything that could make a row depend on its companions: windows, grouped heads, residuals, odd
// sizes, both weight types, prefix vectors.
Model DemandingModel(int prefix) {
  ModelConfig config = SmallConfig();
  config.d_model = 37;
  config.d_ff = 67;
  config.heads = 6;
  config.local_layers = {1, 0, 1, 0};
  config.sliding_window = 9;
  config.qk_norm = config.post_norms = true;
  config.logit_softcap = 5;
  return RandomModel(config, WithPrefix(CyclePlan(config, 2, ResidualKind::kLora, 5), prefix));
}

constexpr int kLength = 45;

struct Variant {
  DType type;
  int prefix;
};

class Invariance : public testing::TestWithParam<Variant> {
 protected:
  Invariance() : tokens_(RandomTokens(kLength, model_.config.vocab)) {
    whole_ = AllLogits(model_, tokens_, GetParam().type, 2);
  }
  // Rows [first, first + count) of the single prefill.
  std::vector<float> Rows(int first, int count = 1) const {
    const auto begin = whole_.begin() + first * model_.config.vocab;
    return {begin, begin + count * model_.config.vocab};
  }

  Model model_ = DemandingModel(GetParam().prefix);
  std::vector<int32_t> tokens_;
  std::vector<float> whole_;
  ThreadPool pool_{2};
  Engine engine_{model_, {.weights = GetParam().type}, pool_};
};

TEST_P(Invariance, ThreadCount) {
  EXPECT_EQ(AllLogits(model_, tokens_, GetParam().type, 1), whole_);
  EXPECT_EQ(AllLogits(model_, tokens_, GetParam().type, 3), whole_);
}

TEST_P(Invariance, AnyChunking) {
  for (const int chunk : {1, 2, 5, 6, 7, 13, 16, 44}) {
    KvCache cache = engine_.NewCache(kLength);
    std::vector<float> logits;
    for (int first = 0; first < kLength; first += chunk) {
      const auto count = static_cast<size_t>(std::min(chunk, kLength - first));
      const std::vector<float> part =
          engine_.Prefill(cache, std::span(tokens_).subspan(first, count), true);
      logits.insert(logits.end(), part.begin(), part.end());
    }
    EXPECT_EQ(logits, whole_) << "chunks of " << chunk;
  }
}

TEST_P(Invariance, DecodeEqualsPrefill) {
  KvCache cache = engine_.NewCache(kLength);
  EXPECT_EQ(engine_.Prefill(cache, std::span(tokens_).first(20)), Rows(19));
  KvCache* caches[] = {&cache};
  for (int i = 20; i < kLength; ++i) {
    EXPECT_EQ(engine_.Decode(caches, std::span(tokens_).subspan(i, 1)), Rows(i))
        << "position " << i;
  }
}

TEST_P(Invariance, SequencesInABatchAreAsAlone) {
  std::vector<KvCache> caches;
  std::vector<KvCache*> pointers;
  const std::vector<int> lengths = {1, 30, 7, 19, 12, 40, 3};
  for (const int length : lengths) {
    caches.push_back(engine_.NewCache(kLength));
    engine_.Prefill(caches.back(), std::span(tokens_).first(length));
  }
  for (KvCache& cache : caches) pointers.push_back(&cache);
  for (int step = 0; step < 4; ++step) {
    std::vector<int32_t> next;
    std::vector<float> expected;
    for (const int length : lengths) {
      next.push_back(tokens_[length + step]);
      const std::vector<float> row = Rows(length + step);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    EXPECT_EQ(engine_.Decode(pointers, next), expected) << "step " << step;
  }
}

TEST_P(Invariance, SpansOfSeveralSequencesInOneStep) {
  KvCache a = engine_.NewCache(kLength), b = engine_.NewCache(kLength);
  const int vocab = model_.config.vocab, d = model_.config.d_model;
  // 11 positions of one sequence and 25 of another, interleaved with a second piece of the first.
  std::vector<RowSpan> spans = {{&a, 0, 0, 11}, {&b, 0, 0, 25}, {&a, 0, 11, 4}};
  std::vector<int32_t> tokens;
  std::vector<int> positions;
  for (const RowSpan& span : spans) {
    for (int i = 0; i < span.count; ++i) {
      tokens.push_back(tokens_[span.first_position + i]);
      positions.push_back(span.first_position + i);
    }
  }
  std::vector<float> hidden(tokens.size() * d), logits(tokens.size() * vocab);
  engine_.Embed(tokens, positions, hidden.data());
  for (int depth = 0; depth < model_.config.layers; ++depth) {
    for (RowSpan& span : spans) span.depth = depth;
    engine_.RunLayer(spans, hidden.data());
  }
  engine_.Head(hidden.data(), static_cast<int64_t>(tokens.size()), logits.data());
  const auto part = [&](int first, int count) {
    return std::vector<float>(logits.begin() + first * vocab,
                              logits.begin() + (first + count) * vocab);
  };
  EXPECT_EQ(part(0, 11), Rows(0, 11));
  EXPECT_EQ(part(11, 25), Rows(0, 25));
  EXPECT_EQ(part(36, 4), Rows(11, 4));
  EXPECT_EQ(a.length(), 15);
  EXPECT_EQ(b.length(), 25);
}

TEST_P(Invariance, TruncatedCacheForgets) {
  KvCache cache = engine_.NewCache(kLength);
  engine_.Prefill(cache, std::span(tokens_).first(10));
  engine_.Prefill(cache, RandomTokens(30, model_.config.vocab, 99));
  EXPECT_EQ(cache.length(), 40);
  cache.Truncate(10);
  EXPECT_EQ(cache.length(), 10);
  EXPECT_EQ(engine_.Prefill(cache, std::span(tokens_).subspan(10), true), Rows(10, kLength - 10));
}

INSTANTIATE_TEST_SUITE_P(Types, Invariance,
                         testing::Values(Variant{DType::kF32, 0}, Variant{DType::kBF16, 0},
                                         Variant{DType::kF32, 70}, Variant{DType::kBF16, 3}),
                         [](const auto& test) {
                           return std::string(Info(test.param.type).name) + "prefix" +
                                  std::to_string(test.param.prefix);
                         });

}  // namespace
}  // namespace rondo
