// The engine against the double-precision reference pass, one feature of the configuration at a
// time.
#include "rondo/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine_testing.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

TEST(Engine, LlamaLike) { ExpectMatchesReference(RandomModel(SmallConfig())); }

TEST(Engine, OddSizesAroundTheLaneWidth) {
  for (const int size : {1, 7, 15, 16, 17, 33}) {
    ModelConfig config = SmallConfig();
    config.d_model = size;
    config.d_ff = size + 1;
    config.vocab = size + 2;
    config.head_dim = 2 * size;
    config.rotary_dim = 2 * size;
    ExpectMatchesReference(RandomModel(config));
  }
}

TEST(Engine, PartialRotary) {
  ModelConfig config = SmallConfig();
  config.rotary_dim = 2;
  ExpectMatchesReference(RandomModel(config));
}

TEST(Engine, RopeScalings) {
  ModelConfig config = SmallConfig();
  config.head_dim = config.rotary_dim = 16;  // enough frequencies to meet all three Llama 3 ranges
  config.rope_theta = 500;
  config.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 4};
  ExpectMatchesReference(RandomModel(config));
  config.rope_scaling = {.kind = RopeScalingKind::kLlama3,
                         .factor = 8,
                         .low_freq_factor = 1,
                         .high_freq_factor = 4,
                         .original_max_positions = 64};
  ExpectMatchesReference(RandomModel(config));
}

TEST(Engine, SlidingWindowOfSomeLayersWithTheirOwnTheta) {
  for (const int window : {1, 5, 16, 17, 39}) {
    ModelConfig config = SmallConfig();
    config.local_layers = {1, 0, 1, 1};
    config.sliding_window = window;
    config.rope_local_theta = 100;
    config.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 4};
    ExpectMatchesReference(RandomModel(config));
  }
}

TEST(Engine, GemmaLike) {
  ModelConfig config = SmallConfig();
  config.qk_norm = config.post_norms = config.tied_embeddings = true;
  config.embed_scale = 4.9f;
  config.activation = Activation::kGeluTanh;
  config.attn_softcap = 2;
  config.logit_softcap = 3;
  config.kv_heads = 1;
  ExpectMatchesReference(RandomModel(config));
}

TEST(Engine, NeoxLike) {
  ModelConfig config = SmallConfig();
  config.norm = NormKind::kLayer;
  config.parallel_residual = true;
  config.gated_ffn = false;
  config.activation = Activation::kGelu;
  config.qkv_bias = config.o_bias = config.ffn_bias = config.head_bias = true;
  config.kv_heads = config.heads;
  ExpectMatchesReference(RandomModel(config));
}

TEST(Engine, Gpt2Like) {
  ModelConfig config = SmallConfig();
  config.norm = NormKind::kLayer;
  config.positions = PositionKind::kLearned;
  config.gated_ffn = false;
  config.activation = Activation::kRelu;
  config.qkv_bias = config.o_bias = config.ffn_bias = config.tied_embeddings = true;
  ExpectMatchesReference(RandomModel(config));
}

TEST(Engine, LongPromptRunsInSeveralChunks) {
  ModelConfig config = SmallConfig();
  config.layers = 2;
  config.vocab = 11;
  config.max_positions = 2048;
  ExpectMatchesReference(RandomModel(config), 1100);
}

// bf16 keeps 8 bits, so a weight is off by at most 2^-9 of itself; the logits follow in proportion,
// once per matrix passed in sequence, the errors being independent.
TEST(Engine, Bf16IsNearTheReference) {
  const Model model = RandomModel(SmallConfig());
  const std::vector<int32_t> tokens = RandomTokens(40, model.config.vocab);
  const std::vector<double> expected = ReferenceLogits(model, tokens);
  const std::vector<float> logits = AllLogits(model, tokens, DType::kBF16);
  const double tolerance =
      0x1p-9 * std::sqrt(7.0 * model.config.layers) * LargestMagnitude(expected);
  const double difference = WorstDifference(logits, expected);
  EXPECT_LE(difference, tolerance);
  EXPECT_GT(difference, Tolerance(model.config, expected));  // it did run in bf16
}

TEST(Engine, TapsSeeTheInputsOfLinears) {
  const Model model = RandomModel(SmallConfig());
  ThreadPool pool(2);
  const Engine engine(model, {}, pool);
  KvCache cache = engine.NewCache(8);
  const std::vector<int32_t> tokens = RandomTokens(3, model.config.vocab);
  const std::vector<int> positions = {0, 1, 2};
  std::vector<float> hidden(3 * 24);
  engine.Embed(tokens, positions, hidden.data());
  const std::vector<float> before = hidden;
  std::vector<std::pair<TapPoint, int64_t>> seen;
  std::vector<float> first;
  const RowSpan span{&cache, 0, 0, 3};
  engine.RunLayer({&span, 1}, hidden.data(),
                  [&](int depth, TapPoint point, const float* x, int64_t rows, int64_t width) {
                    EXPECT_EQ(depth, 0);
                    EXPECT_EQ(rows, 3);
                    seen.emplace_back(point, width);
                    if (point == TapPoint::kAttnInput) first.assign(x, x + rows * width);
                  });
  EXPECT_THAT(seen, testing::ElementsAre(
                        std::pair(TapPoint::kAttnInput, 24), std::pair(TapPoint::kOInput, 24),
                        std::pair(TapPoint::kFfnInput, 24), std::pair(TapPoint::kDownInput, 40)));
  // The first is the attention norm of the hidden state.
  const std::vector<float> gain = ToF32(model.weights.Get("blocks.0.attn_norm.weight"));
  double squares = 0;
  for (int i = 0; i < 24; ++i) squares += before[i] * before[i] / 24.0;
  for (int i = 0; i < 24; ++i) {
    EXPECT_NEAR(first[i], before[i] / std::sqrt(squares + 1e-5) * gain[i], 1e-5);
  }
}

TEST(Engine, RefusesBadInput) {
  ModelConfig config = SmallConfig();
  config.positions = PositionKind::kLearned;
  config.max_positions = 6;
  const Model model = RandomModel(config);
  ThreadPool pool(1);
  const Engine engine(model, {}, pool);
  KvCache cache = engine.NewCache(8);
  const auto prefill = [&](std::vector<int32_t> tokens) { engine.Prefill(cache, tokens); };
  EXPECT_THROW(prefill({0, config.vocab}), Error);
  EXPECT_THROW(prefill({-1}), Error);
  EXPECT_THROW(prefill(RandomTokens(7, config.vocab)), Error);  // positions end at 6
  EXPECT_THROW(prefill(RandomTokens(9, config.vocab)), Error);  // capacity is 8
  EXPECT_EQ(cache.length(), 0);
  EXPECT_THROW(engine.NewCache(0), Error);
  EXPECT_THROW(engine.NewCache(-5), Error);
  EXPECT_THROW(engine.NewCache(2'000'000'000), Error);
  EXPECT_THROW(cache.Truncate(-1), Error);

  prefill(RandomTokens(6, config.vocab));
  KvCache* same[] = {&cache, &cache};
  const int32_t two[] = {1, 2};
  EXPECT_THROW(engine.Decode({same, 1}, {two, 1}), Error);  // position 6
  EXPECT_THROW(engine.Decode(same, two), Error);
  EXPECT_THROW(engine.Decode({same, 1}, two), Error);
  std::vector<float> hidden(2 * 24);
  const RowSpan gap[] = {{&cache, 0, 6, 1}, {&cache, 0, 8, 1}};
  EXPECT_THROW(engine.RunLayer(gap, hidden.data()), Error);
  const RowSpan beyond[] = {{&cache, config.layers, 0, 1}};
  EXPECT_THROW(engine.RunLayer(beyond, hidden.data()), Error);
  KvCache other = engine.NewCache(1);
  const RowSpan mixed[] = {{&cache, 0, 5, 1}, {&other, 1, 0, 1}};  // blocks of two depths
  EXPECT_THROW(engine.RunLayer(mixed, hidden.data()), Error);
  EXPECT_EQ(cache.length(), 6);
}

TEST(Engine, RefusesAModelWithMissingTensors) {
  ThreadPool pool(1);
  Model model = RandomModel(SmallConfig());
  model.weights.Erase("blocks.2.o.weight");
  try {
    Engine engine(model, {}, pool);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("blocks.2.o.weight"));
  }
}

}  // namespace
}  // namespace rondo
