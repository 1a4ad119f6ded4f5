// Recipes: what is read, what is written, what is refused.
#include "train/recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rondo/error.h"
#include "train/recipe/stage.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kRecipe = R"(
model = "folded"
teacher = "teacher.gguf"
[data]
files = ["a.txt", "b.txt.xz"]
length = 128
[run]
out = "runs/a"
[train]
lr = 1e-3
batch = 4
[[stages]]
name = "align"
kind = "align"
minutes = 10
[[stages]]
steps = 100
lr = 2
hidden = 0.5
hidden_depths = [1, 3]
)";

Recipe Parse(const std::string& text, std::vector<std::string> settings = {}) {
  return ParseRecipe(text, "recipe.toml", settings);
}

std::string ErrorOf(const std::string& text, std::vector<std::string> settings = {}) {
  try {
    const Recipe recipe = Parse(text, settings);
    for (size_t i = 0; i < recipe.stages.size(); ++i) ResolveStage(recipe, i, SmallConfig());
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Recipe, StagesInheritFromTrain) {
  const Recipe recipe = Parse(kRecipe);
  ASSERT_EQ(recipe.stages.size(), 2u);
  EXPECT_EQ(recipe.data.files, (std::vector<std::string>{"a.txt", "b.txt.xz"}));
  EXPECT_EQ(recipe.stages[0].name, "align");
  EXPECT_EQ(recipe.stages[0].batch, 4);
  EXPECT_EQ(recipe.stages[0].lr, 1e-3);
  EXPECT_EQ(recipe.stages[1].lr, 2);  // an integer is a number
  EXPECT_EQ(recipe.stages[1].hidden_depths, (std::vector<int>{1, 3}));
  EXPECT_EQ(ErrorOf(kRecipe), "no error");
}

TEST(Recipe, WithoutStagesTrainIsTheOnlyOne) {
  const Recipe recipe = Parse("model = \"m\"\n[train]\nsteps = 3\n");
  ASSERT_EQ(recipe.stages.size(), 1u);
  EXPECT_EQ(recipe.stages[0].steps, 3);
}

TEST(Recipe, ResolvedTextReadsBackAsTheSame) {
  const Recipe recipe = Parse(kRecipe, {"train.lr=0.1234567890123456", "run.seed=7"});
  const std::string text = RecipeToToml(recipe);
  EXPECT_EQ(RecipeToToml(Parse(text)), text);
  EXPECT_EQ(Parse(text).stages[0].lr, 0.1234567890123456);
  EXPECT_EQ(Parse(text).run.seed, 7u);
}

TEST(Recipe, InitIsThereOnlyWhenTheRecipeHasIt) {
  EXPECT_FALSE(Parse(kRecipe).init.has_value());
  EXPECT_THAT(RecipeToToml(Parse(kRecipe)), testing::Not(HasSubstr("[init]")));
  const Recipe recipe = Parse("[init]\nd_model = 96\n[train]\nsteps = 3\n", {"init.seed=4"});
  ASSERT_TRUE(recipe.init.has_value());
  EXPECT_EQ(recipe.init->d_model, 96);
  EXPECT_EQ(recipe.init->seed, 4u);
  EXPECT_EQ(RecipeToToml(Parse(RecipeToToml(recipe))), RecipeToToml(recipe));
  EXPECT_THAT(ErrorOf("[init]\nd_modle = 96\n"),
              AllOf(HasSubstr("init.d_modle"), HasSubstr("d_model")));
  EXPECT_THAT(RecipeHelp(), HasSubstr("[init]"));
}

TEST(Recipe, SettingsOverride) {
  const Recipe recipe = Parse(kRecipe, {"stages.1.lr = 0.5", "data.files=[\"c.txt\"]",
                                        "run.out=runs/b", "stages.0.batch=2"});
  EXPECT_EQ(recipe.stages[1].lr, 0.5);
  EXPECT_EQ(recipe.data.files, std::vector<std::string>{"c.txt"});
  EXPECT_EQ(recipe.run.out, "runs/b");  // no TOML value, so a string
  EXPECT_EQ(recipe.stages[0].batch, 2);
  EXPECT_EQ(recipe.stages[1].batch, 4);
}

struct BadCase {
  std::string text, setting;
  std::vector<std::string> says;
};

TEST(Recipe, BadInputIsNamed) {
  const BadCase cases[] = {
      {"", "train.learning_rat=1", {"recipe.toml", "train.learning_rat", "unknown key"}},
      {"", "train.schedul=\"cosine\"", {"'schedul'", "schedule"}},
      {"", "modle=\"x\"", {"'modle'", "model"}},
      {"", "train.lr=\"fast\"", {"train.lr", "'fast'", "a number"}},
      {"", "train.lr=nan", {"train.lr", "a finite number"}},
      {"", "train.batch=1.5", {"train.batch", "1.5", "an integer"}},
      {"", "train.batch=99999999999", {"train.batch", "an integer"}},
      {"", "train.batch=0", {"batch", "0", "1 to 65536"}},
      {"", "data.files=\"a.txt\"", {"data.files", "a list"}},
      {"", "data.files=[1]", {"data.files", "a string"}},
      {"", "data=3", {"data", "a table"}},
      {"", "stages.2.lr=1", {"stages.2.lr", "number of a stage"}},
      {"", "nonsense", {"nonsense", "key=value"}},
      {"", "stages.1.steps=0", {"stages.1.minutes", "exactly one of steps, tokens, minutes"}},
      {"", "stages.1.minutes=3", {"exactly one of steps, tokens, minutes"}},
      {"", "train.divergence=\"forward\"", {"divergence", "'forward'", "forward-kl"}},
      {"", "stages.1.kind=\"distil\"", {"kind", "'distil'", "distill"}},
      {"", "stages.1.hidden_depths=[9]", {"hidden_depths", "9", "depths of the model"}},
      {"", "train.parameters=[\"blocks.*:fast\"]", {"parameters", "blocks.*:fast"}},
      {"", "teacher=\"\"", {"stages.1.hidden", "with a teacher"}},
      {"model = \"m\"\n[train]\nsteps = 3\n", "", {"teacher", "no teacher"}},
      {"", "train.warmup=2", {"warmup", "2", "0 to 1"}},
      {"", "stages.1.layer_dropout=1", {"stages.1.layer_dropout", "1", "0 to below 1"}},
      {"", "stages.0.layer_dropout=0.1", {"stages.0.layer_dropout", "kind = \"distill\""}},
      {"", "stages.1.gate=-1", {"stages.1.gate", "-1", "0 or more"}},
      {"", "stages.0.gate=1", {"stages.0.gate", "kind = \"distill\""}},
      {"", "stages.1.mixture=1", {"stages.1.mixture", "1", "0, or 2 to 64"}},
      {"", "stages.1.consistency=1", {"stages.1.consistency", "with a mixture"}},
      {"model = [", "", {"recipe.toml", "line"}},
      {"stages = 3", "", {"stages", "[[stages]]"}},
  };
  for (const BadCase& bad : cases) {
    const std::string text = bad.text.empty() ? kRecipe : bad.text;
    const std::vector<std::string> settings =
        bad.setting.empty() ? std::vector<std::string>() : std::vector{bad.setting};
    const std::string message = ErrorOf(text, settings);
    if (!bad.says.empty()) {
      EXPECT_NE(message, "no error") << bad.setting;
    }
    for (const std::string& part : bad.says) {
      EXPECT_THAT(message, HasSubstr(part)) << bad.setting << bad.text;
    }
  }
}

struct IdleCase {
  std::string recipe, setting, field, only;
};

TEST(Recipe, AKeyThatDoesNothingIsAnError) {
  const std::string alone = "model = \"m\"\n[train]\nsteps = 3\nkd = 0\n";
  const std::string speech = "[speech]\ntrain = \"a.tsv\"\n[train]\nsteps = 3\n";
  const std::string with_model = "model = \"m\"\n" + speech;
  const std::string tying = "model = \"m\"\n[tying]\n[train]\nsteps = 3\nkd = 0\n";
  const std::string init = "[init]\nfamily = \"gpt2\"\n[train]\nsteps = 3\nkd = 0\n";
  const IdleCase cases[] = {
      // Language models' keys beside [speech].
      {speech, "train.ce=1", "train.ce", "for language models"},
      {speech, "train.batch=8", "train.batch", "for language models"},
      {speech, "train.kind=\"distill\"", "train.kind", "for language models"},
      {speech, "train.exits=\"weighted\"", "train.exits", "for language models"},
      {speech, "train.exit_weight=0.5", "train.exit_weight", "for language models"},
      {speech, "train.exit_kd=0.5", "train.exit_kd", "for language models"},
      {speech, "train.gate=1", "train.gate", "for language models"},
      {speech, "train.layer_dropout=0.1", "train.layer_dropout", "for language models"},
      {speech, "train.mixture=4", "train.mixture", "for language models"},
      {speech, "train.consistency=1", "train.consistency", "for language models"},
      {speech, "train.widths=[0.5]", "train.widths", "for language models"},
      {speech, "train.fade=\"linear\"", "train.fade", "for language models"},
      {speech, "train.fade_by=\"rank\"", "train.fade_by", "for language models"},
      {speech, "train.fade_until=0.5", "train.fade_until", "for language models"},
      {speech, "train.fade_power=2", "train.fade_power", "for language models"},
      {speech, "train.checkpoint=\"loop\"", "train.checkpoint", "for language models"},
      {speech, "train.kd=0.5", "train.kd", "with a teacher"},
      {speech, "train.hidden=0.5", "train.hidden", "with a teacher"},
      {speech, "train.temperature=2", "train.temperature", "kd above 0"},
      {speech, "data.files=[\"a.txt\"]", "data.files", "for language models"},
      {speech, "data.length=64", "data.length", "for language models"},
      {speech, "valid.text=\"a.txt\"", "valid.text", "for language models"},
      {speech, "valid.context=64", "valid.context", "for language models"},
      {speech, "valid.max_tokens=64", "valid.max_tokens", "for language models"},
      {speech, "valid.prompts=[\"a\"]", "valid.prompts", "for language models"},
      {speech, "valid.every_steps=5", "valid.every_steps", "with speech.valid"},
      {speech, "speech.valid_limit=5", "speech.valid_limit", "with valid or held_out"},
      {speech, "run.device=\"cuda\"", "run.device", "trains on the CPU"},
      {speech, "teacher_cache=\"x\"", "teacher_cache", "for language models"},
      {speech, "init.layers=2", "init.layers", "for language models"},
      {speech, "tying.mode=\"rl\"", "tying.mode", "for language models"},
      // [speech] by itself.
      {speech, "speech.unit_count=9", "speech.unit_count", "sentencepiece"},
      {speech, "speech.rank=9", "speech.rank", "share above 1"},
      {speech, "speech.left_chunks=1", "speech.left_chunks", "chunk"},
      {speech, "speech.decoder_layers=1", "speech.decoder_layers", "attention above 0"},
      {speech, "speech.label_smoothing=0", "speech.label_smoothing", "attention above 0"},
      {speech, "speech.joiner_width=8", "speech.joiner_width", "transducer above 0"},
      {speech, "speech.valid_audio=\"x\"", "speech.valid_audio", "with speech.valid"},
      {with_model, "speech.layers=6", "speech.layers", "without `model`"},
      {with_model, "speech.units=\"characters\"", "speech.units", "without `model`"},
      // Values that matter only beside another.
      {alone, "train.kd=0.5", "train.kd", "with a teacher"},
      {alone, "train.hidden=1", "train.hidden", "with a teacher"},
      {alone, "train.divergence=\"reverse-kl\"", "train.divergence", "kd above 0"},
      {alone, "train.hidden_depths=[1]", "train.hidden_depths", "hidden above 0"},
      {alone, "train.decay=0.1", "train.decay", "trapezoid"},
      {alone, "train.exit_weight=0.5", "train.exit_weight", "aggressive"},
      {alone, "train.exit_kd=0.5", "train.exit_kd", "with exits"},
      {alone, "train.fade_until=0.5", "train.fade_until", "with fade"},
      {alone, "train.fade_window=0.5", "train.fade_window", "with fade"},
      {alone, "train.consistency=0.5", "train.consistency", "with a mixture"},
      {alone, "teacher_top_k=8", "teacher_top_k", "with teacher_cache"},
      {alone, "teacher_cache=\"x\"", "teacher_cache", "with a teacher"},
      {alone, "valid.context=64", "valid.context", "with valid.text"},
      {alone, "valid.every_steps=5", "valid.every_steps", "with valid.text"},
      {alone, "valid.prompts=[\"a\"]", "valid.prompts", "with valid.text"},
      {alone, "valid.new_tokens=5", "valid.new_tokens", "with valid.prompts"},
      {init, "init.rope_theta=1e6", "init.rope_theta", "llama or qwen3"},
      {tying, "tying.policy=\"first\"", "tying.policy", "fixed"},
      {tying, "tying.decisions=\"x\"", "tying.decisions", "replay"},
      {tying, "tying.rank=4", "tying.rank", "with a residual"},
      {tying, "tying.budget_by=0.4", "tying.budget_by", "with a budget"},
      {tying, "tying.replay_batch=4", "tying.replay_batch", "with replay"},
      {tying, "train.mixture=4", "train.mixture", "another stage"},
      {tying, "train.exits=\"weighted\"", "train.exits", "another stage"},
      // Rounding in the loop.
      {speech, "train.round=[\"*:q4_0\"]", "train.round", "for language models"},
      {tying, "train.round=[\"*:q4_0\"]", "train.round", "another stage"},
      {alone, "train.round_lr=2", "train.round_lr", "with round or rounded"},
      {init, "rounded=\"a.gguf\"", "rounded", "with model"},
  };
  for (const IdleCase& idle : cases) {
    EXPECT_THAT(ErrorOf(idle.recipe, {idle.setting}),
                AllOf(HasSubstr("recipe.toml: " + idle.field + ": given, but does nothing here"),
                      HasSubstr("only "), HasSubstr(idle.only)))
        << idle.setting;
  }
  for (const std::string& text : {alone, speech, with_model, tying, init}) {
    EXPECT_NO_THROW(Parse(text)) << text;
  }
  EXPECT_THAT(ErrorOf(kRecipe, {"data.files=[\"a.jsonl\"]", "data.unit=\"line\""}),
              HasSubstr("data.unit: given"));
  EXPECT_THAT(ErrorOf(kRecipe, {"data.field=\"body\""}), HasSubstr("data.field: given"));
}

TEST(Recipe, RoundIsPatternsWithTypesWhoseScalesCanBeLearned) {
  const std::string alone = "model = \"m\"\n[train]\nsteps = 3\nkd = 0\n";
  EXPECT_EQ(ErrorOf(alone, {"train.round=[\"embed.*:q3_1\", \"blocks.*:q4_0\"]"}), "no error");
  const Recipe recipe = Parse(alone, {"train.round=[\"*:q2_0\"]", "train.round_lr=0.5"});
  EXPECT_EQ(recipe.stages[0].round, std::vector<std::string>{"*:q2_0"});
  EXPECT_EQ(ResolveStage(recipe, 0, SmallConfig()).rounding.lr_scale, 0.5f);
  EXPECT_EQ(RecipeToToml(Parse(RecipeToToml(recipe))), RecipeToToml(recipe));
  EXPECT_THAT(ErrorOf(alone, {"train.round=[\"blocks.*\"]"}),
              AllOf(HasSubstr("stages.0.round"), HasSubstr("pattern:type")));
  EXPECT_THAT(ErrorOf(alone, {"train.round=[\"blocks.*:q4_7\"]"}),
              AllOf(HasSubstr("recipe.toml: stages.0.round"), HasSubstr("q4_7")));
  for (const char* type : {"f16", "q4_k"}) {
    EXPECT_THAT(ErrorOf(alone, {"train.round=[\"blocks.*:" + std::string(type) + "\"]"}),
                AllOf(HasSubstr("stages.0.round"), HasSubstr("q8_0, q4_0")));
  }
  EXPECT_THAT(ErrorOf(alone, {"train.round=[\"*:q4_0\"]", "train.mixture=4"}),
              AllOf(HasSubstr("train.round"), HasSubstr("without a mixture")));
}

TEST(Recipe, AKeyOfTrainMayDoNothingInSomeStages) {
  // The first stage aligns, and has no cross-entropy.
  const Recipe recipe = Parse(kRecipe, {"train.ce=0.25", "train.layer_dropout=0.1"});
  EXPECT_EQ(recipe.stages[1].ce, 0.25);
  EXPECT_EQ(recipe.stages[0].layer_dropout, 0);
  EXPECT_EQ(recipe.stages[1].layer_dropout, 0.1);
}

TEST(Recipe, ResolvedTextHasNothingThatDoesNothing) {
  const std::string speech = "[speech]\ntrain = \"a.tsv\"\n[train]\nsteps = 3\n";
  for (const std::string& text : {std::string(kRecipe), speech,
                                  "model = \"m\"\n[tying]\nmode = \"fixed\"\n" +
                                      std::string("[train]\nsteps = 3\nkd = 0\n")}) {
    const std::string resolved = RecipeToToml(Parse(text));
    EXPECT_EQ(RecipeToToml(Parse(resolved)), resolved);
    EXPECT_THAT(resolved, testing::Not(HasSubstr("fade_until")));
  }
  EXPECT_THAT(RecipeToToml(Parse(speech)), testing::Not(HasSubstr("batch = ")));
  EXPECT_THAT(TomlToJson(RecipeToToml(Parse(speech))), HasSubstr("\"train\" : \"a.tsv\""));
}

TEST(Recipe, ResolvedTextOfOlderVersionsIsRead) {
  const Recipe recipe = Parse(kRecipe);
  const std::string old = RecipeToToml(recipe) + "exit_weight = 0.1\nfade_until = 0.8\n";
  EXPECT_EQ(RecipeToToml(ParseResolved(old, "resolved.toml")), RecipeToToml(recipe));
}

TEST(Recipe, HelpNamesEveryKeyWithItsDefault) {
  const std::string help = RecipeHelp();
  EXPECT_THAT(help, AllOf(HasSubstr("[data]"), HasSubstr("lr = 0.0003"), HasSubstr("fade_until"),
                          HasSubstr("checkpoint_minutes"), HasSubstr("forward-kl, reverse-kl"),
                          HasSubstr("(only with fade = ")));
}

}  // namespace
}  // namespace rondo
