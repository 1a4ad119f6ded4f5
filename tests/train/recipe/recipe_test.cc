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
      {"", "teacher=\"\"", {"teacher", "no teacher"}},
      {"", "train.warmup=2", {"warmup", "2", "0 to 1"}},
      {"", "stages.1.layer_dropout=1", {"stages.1.layer_dropout", "1", "0 to below 1"}},
      {"", "stages.0.layer_dropout=0.1", {"stages.0.layer_dropout", "0 in alignment"}},
      {"", "stages.1.gate=-1", {"stages.1.gate", "-1", "0 or more"}},
      {"", "stages.0.gate=1", {"stages.0.gate", "0 in alignment"}},
      {"", "stages.1.mixture=1", {"stages.1.mixture", "1", "0, or 2 to 64"}},
      {"", "stages.1.consistency=1", {"stages.1.consistency", "0 without a mixture"}},
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

TEST(Recipe, HelpNamesEveryKeyWithItsDefault) {
  const std::string help = RecipeHelp();
  EXPECT_THAT(help, AllOf(HasSubstr("[data]"), HasSubstr("lr = 0.0003"), HasSubstr("fade_until"),
                          HasSubstr("checkpoint_minutes")));
}

}  // namespace
}  // namespace rondo
