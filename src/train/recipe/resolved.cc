#include "train/recipe/resolved.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "rondo/error.h"
#include "train/recipe/place.h"

namespace rondo {

namespace fs = std::filesystem;

namespace {

std::string ResolvedPath(const Recipe& recipe) {
  return (fs::path(recipe.run.out) / "resolved.toml").string();
}

}  // namespace

void CheckResolved(const Recipe& recipe) {
  const std::string path = ResolvedPath(recipe), text = RecipeToToml(recipe);
  if (!PathExists(path)) return;
  // Read and written again: older versions wrote keys that do nothing, too.
  const std::string before = RecipeToToml(ParseResolved(ReadTextFile(path), path));
  if (before == text) return;
  const auto at = std::ranges::mismatch(before, text).in1 - before.begin();
  const size_t begin = before.rfind('\n', static_cast<size_t>(at)) + 1;
  throw Error({.function = "Train",
               .problem = "the folder holds a run of another recipe, which has '" +
                          before.substr(begin, before.find('\n', begin) - begin) + "'",
               .expected = "the same recipe, or another run.out",
               .file = path});
}

void KeepResolved(const Recipe& recipe) {
  MakeDirectories(recipe.run.out);
  if (!PathExists(ResolvedPath(recipe))) {
    WriteTextFile(ResolvedPath(recipe), RecipeToToml(recipe));
  }
}

void CheckRunSection(const Recipe& recipe) {
  const RunSection& run = recipe.run;
  const Place place = {recipe.file, "run"};
  if (run.out.empty()) place.Fail("out", "no folder", "where the run is kept");
}

}  // namespace rondo
