// Non-embedding parameters of the configurations in "Relaxed Recursive Transformers" (Bae et al.,
// ICLR 2025), to the digits that the paper prints. Its totals are sums of rounded parts: TinyLlama
// at rank 256 is printed as 0.68B = 0.48B + 0.20B, where 0.4845 + 0.2019 would round to 0.69B. All
// cells follow from that rule.
#include <gtest/gtest.h>

#include <cmath>

#include "rondo/fold.h"

namespace rondo {
namespace {

ModelConfig Sizes(int layers, int d_ff, int heads, int kv_heads, int head_dim, int vocab) {
  ModelConfig config;
  config.layers = layers;
  config.d_model = 2048;
  config.d_ff = d_ff;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.vocab = vocab;
  config.max_positions = 2048;
  config.attn_scale = 0.1f;
  config.rotary_dim = head_dim;
  return config;
}

ModelConfig Gemma2B() { return Sizes(18, 16384, 8, 1, 256, 256000); }
ModelConfig TinyLlama() { return Sizes(22, 5632, 32, 4, 64, 32000); }
ModelConfig Pythia1B() {
  ModelConfig config = Sizes(16, 8192, 8, 8, 256, 50304);
  config.norm = NormKind::kLayer;
  config.gated_ffn = false;
  config.parallel_residual = true;
  config.qkv_bias = config.o_bias = config.ffn_bias = true;
  return config;
}

int HundredthsOfBillion(int64_t count) {
  return static_cast<int>(std::lround(static_cast<double>(count) * 1e-7));
}

// 99 for 990 million non-embedding parameters.
int Size(const ModelConfig& config, int loops, int rank) {
  FoldOptions options;
  for (TieOrder& order : options.order) order = {.order = "cycle", .loops = loops};
  options.norms = NormPolicy::kTied;
  options.tie_biases = true;
  options.rank = rank;
  const ParameterCount count = CountParameters(config, MakePlan(config, options));
  return HundredthsOfBillion(count.shared) + HundredthsOfBillion(count.residual);
}

struct Published {
  ModelConfig config;
  int loops;
  int sizes[5];  // ranks 0, 64, 128, 256, 512
};

TEST(PublishedSizesTest, EveryRank) {
  const Published table[] = {
      {Gemma2B(), 2, {99, 107, 115, 130, 160}},
      {Gemma2B(), 3, {66, 74, 82, 97, 127}},
      {TinyLlama(), 2, {48, 53, 58, 68, 86}},
      {Pythia1B(), 2, {40, 44, 48, 55, 70}},
  };
  const int ranks[5] = {0, 64, 128, 256, 512};
  for (const Published& row : table) {
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(Size(row.config, row.loops, ranks[i]), row.sizes[i])
          << row.config.layers << " layers, " << row.loops << " loops, rank " << ranks[i];
    }
  }
  EXPECT_EQ(Size(Gemma2B(), 1, 0), 198);
  EXPECT_EQ(Size(TinyLlama(), 1, 0), 97);
  EXPECT_EQ(Size(Pythia1B(), 1, 0), 81);
}

}  // namespace
}  // namespace rondo
