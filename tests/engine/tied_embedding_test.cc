// Tied embeddings are held once: as the packed head, out of which rows are read.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/engine_testing.h"

namespace rondo {
namespace {

ModelConfig TiedConfig() {
  ModelConfig config = SmallConfig();
  config.layers = 1;
  config.d_model = 256;  // a block of every quantised type
  config.vocab = 40;
  config.tied_embeddings = true;
  return config;
}

Model TiedModel(DType stored) {
  Model model = RandomModel(TiedConfig());
  model.weights.Set("embed.weight", Cast(model.weights.Get("embed.weight"), stored));
  return model;
}

// The same function with the head as a tensor of its own.
Model Untied(Model model) {
  model.weights.Set("head.weight", model.weights.Get("embed.weight"));
  model.config.tied_embeddings = false;
  return model;
}

std::vector<float> Logits(const Engine& engine) {
  const std::vector<int32_t> tokens = {0, 15, 16, 17, 31, 39, 39, 3};
  KvCache cache = engine.NewCache(8);
  return engine.Prefill(cache, tokens, /*all_logits=*/true);
}

class TiedEmbeddingTest : public testing::TestWithParam<DType> {};

TEST_P(TiedEmbeddingTest, IsHeldOnceAndGivesTheSameBits) {
  ThreadPool pool(1);
  const Model model = TiedModel(GetParam());
  for (const auto type : {std::optional<DType>(), std::optional(DType::kF32)}) {
    const EngineOptions options{.weights = type};
    const Engine tied(model, options, pool), untied(Untied(model), options, pool);
    EXPECT_EQ(Logits(tied), Logits(untied));
    EXPECT_EQ(tied.weight_bytes() + model.weights.Get("embed.weight").bytes().size(),
              untied.weight_bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TiedEmbeddingTest,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0,
                                         DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                         DType::kQ4_K, DType::kQ6_K, DType::kQ3_1, DType::kQ2_0),
                         [](const auto& tested) { return std::string(Info(tested.param).name); });

// Rounded for the head, exact as rows: then both are needed.
TEST(TiedEmbedding, IsHeldTwiceWhereTheHeadIsRounded) {
  ThreadPool pool(1);
  const Model model = TiedModel(DType::kF32);
  const EngineOptions options{.weights = DType::kQ8_0};
  const Engine tied(model, options, pool), untied(Untied(model), options, pool);
  EXPECT_EQ(Logits(tied), Logits(untied));
  EXPECT_EQ(tied.weight_bytes(), untied.weight_bytes());
}

}  // namespace
}  // namespace rondo
