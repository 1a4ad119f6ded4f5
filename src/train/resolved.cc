#include "train/resolved.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "rondo/error.h"

namespace rondo {

namespace fs = std::filesystem;

void CheckResolved(const Recipe& recipe) {
  const std::string path = (fs::path(recipe.run.out) / "resolved.toml").string(),
                    text = RecipeToToml(recipe);
  if (!fs::exists(path)) {
    fs::create_directories(recipe.run.out);
    AtomicFile file(path);
    file.Write(text);
    return file.Commit();
  }
  const std::string before = ReadTextFile(path);
  if (before == text) return;
  const auto at = std::ranges::mismatch(before, text).in1 - before.begin();
  const size_t begin = before.rfind('\n', static_cast<size_t>(at)) + 1;
  throw Error({.function = "Train",
               .problem = "the folder holds a run of another recipe, which has '" +
                          before.substr(begin, before.find('\n', begin) - begin) + "'",
               .expected = "the same recipe, or another run.out",
               .file = path});
}

}  // namespace rondo
