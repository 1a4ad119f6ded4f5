// Recipes of training runs. What was accepted can be written and read again.
#include "fuzz/input.h"
#include "train/recipe/recipe.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = fuzz::InputFile(fuzz::Text(data, size));
  std::string text;
  if (!fuzz::Refusable([&] { text = RecipeToToml(ReadRecipe(path, {})); })) return 0;
  const std::string written = fuzz::InputFile(text);
  fuzz::Require(RecipeToToml(ReadRecipe(written, {})) == text,
                "a recipe that is written reads as the same");
  return 0;
}
