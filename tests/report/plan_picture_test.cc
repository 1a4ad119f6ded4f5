#include "report/plan_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "rondo/fold.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::Not;

ModelConfig Config(int layers) {
  ModelConfig config;
  config.family = "llama";
  config.layers = layers;
  config.d_model = 576;
  config.d_ff = 1536;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.vocab = 49152;
  config.max_positions = 2048;
  config.rotary_dim = 64;
  config.attn_scale = 0.125f;
  config.tied_embeddings = true;
  return config;
}

FoldOptions Options(const char* order, int loops) {
  FoldOptions options;
  for (TieOrder& o : options.order) o = {.order = order, .loops = loops};
  return options;
}

size_t WidestLine(const std::string& text) {
  size_t widest = 0;
  for (const std::string& line : Split(text, '\n')) widest = std::max(widest, line.size());
  return widest;
}

TEST(DrawPlanTest, CycleIsOneRowALoopForAllLinears) {
  const ModelConfig config = Config(6);
  const std::string text = DrawPlan(config, MakePlan(config, Options("cycle", 2)));
  EXPECT_THAT(text, HasSubstr("depth    0 1 2 3 4 5\n"
                              "linears  0 1 2 0 1 2\n"
                              "  loop   1 1 1 2 2 2\n"));
  EXPECT_THAT(text, HasSubstr("norms: own at every depth"));
  EXPECT_THAT(text, HasSubstr("lora 64"));
}

TEST(DrawPlanTest, PrefixVectorsAreCounted) {
  const ModelConfig config = Config(6);
  FoldOptions options = Options("cycle", 2);
  EXPECT_THAT(DrawPlan(config, MakePlan(config, options)), Not(HasSubstr("prefix")));
  options.prefix = 8;  // 6 depths · 8 keys and values of 3 · 64
  EXPECT_THAT(DrawPlan(config, MakePlan(config, options)),
              testing::ContainsRegex("prefix +\\[8, 192\\] +18,432"));
}

TEST(DrawPlanTest, GroupsThatDifferHaveRowsOfTheirOwn) {
  const ModelConfig config = Config(6);
  FoldOptions options = Options("cycle", 3);
  options.order[static_cast<size_t>(ModuleGroup::kFfn)].order = "sequence";
  options.norms = NormPolicy::kAbsorb;
  const std::string text = DrawPlan(config, MakePlan(config, options));
  EXPECT_THAT(text, HasSubstr("attention  0 1 0 1 0 1\n"));
  EXPECT_THAT(text, HasSubstr("ffn        0 0 0 1 1 1\n"));
  EXPECT_THAT(text, HasSubstr("norms: absorbed into the linears"));
}

TEST(DrawPlanTest, ModulesThatDifferWithinAGroupAreNamed) {
  const ModelConfig config = Config(4);
  SharingPlan plan = MakePlan(config, Options("cycle", 2));
  plan[Module::kV].blocks = plan[Module::kO].blocks = {0, 0, 1, 1};
  const std::string text = DrawPlan(config, plan);
  EXPECT_THAT(text, HasSubstr("q,k    0 1 0 1\n"));
  EXPECT_THAT(text, HasSubstr("v,o    0 0 1 1\n"));
}

TEST(DrawPlanTest, RanksThatDifferAreARange) {
  const ModelConfig config = Config(4);
  SharingPlan plan = MakePlan(config, Options("cycle", 2));
  plan[Module::kQ].ranks = {0, 8, 40, 8};
  plan[Module::kK].ranks = {16, 8, 16, 8};
  const std::string text = DrawPlan(config, plan);
  EXPECT_THAT(text, testing::ContainsRegex("q .* lora 8-40 .0 at 1 depths"));
  EXPECT_THAT(text, testing::ContainsRegex("k .* lora 8-16\n"));
  EXPECT_THAT(text, testing::ContainsRegex("v .* lora 64\n"));
}

TEST(DrawPlanTest, UnevenDivisionsAreReported) {
  const ModelConfig config = Config(30);
  EXPECT_THAT(DrawPlan(config, MakePlan(config, Options("cycle", 4))),
              HasSubstr("linears: 2 blocks run 3 times, 6 blocks run 4 times"));
  EXPECT_THAT(DrawPlan(config, MakePlan(config, Options("cycle", 3))), Not(HasSubstr(" run ")));
}

// 30 layers of SmolLM2 in two loops with rank 64, counted by hand: 15 layers of 3,538,944 (linears)
// and 60 norms and a final one of 576; residuals 30 * 64 * (2 * 1152 + 2 * 768 + 3 * 2112).
TEST(DrawPlanTest, TotalsOfStoredAndUnrolledParameters) {
  const ModelConfig config = Config(30);
  const std::string text = DrawPlan(config, MakePlan(config, Options("cycle", 2)));
  EXPECT_THAT(text, HasSubstr("28,311,552"));
  EXPECT_THAT(text, HasSubstr("53,119,296"));
  EXPECT_THAT(text, HasSubstr("19,537,920"));
  EXPECT_THAT(text, HasSubstr("134,515,008"));
}

TEST(DrawPlanTest, DeepModelsFitAHundredColumns) {
  for (const int layers : {1, 9, 30, 80, 200, 1200}) {
    const ModelConfig config = Config(layers);
    for (const char* order : {"identity", "cycle", "sequence"}) {
      FoldOptions options = Options(order, layers > 1 ? 2 : 1);
      options.norms = NormPolicy::kTied;
      options.residual = ResidualKind::kLoraDiag;
      EXPECT_LE(WidestLine(DrawPlan(config, MakePlan(config, options))), 100u) << order << layers;
    }
  }
}

TEST(DrawPlanTest, ColorPaintsSharedBlocksOnly) {
  const ModelConfig config = Config(6);
  const SharingPlan plan = MakePlan(config, Options("middle-cycle", 2));
  EXPECT_THAT(DrawPlan(config, plan), Not(HasSubstr("\x1b")));
  EXPECT_THAT(DrawPlan(config, plan, true), HasSubstr(" 0\x1b[32m 1\x1b[0m"));
}

}  // namespace
}  // namespace rondo
