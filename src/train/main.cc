#include <malloc.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "train/recipe/recipe.h"
#include "train/trainer.h"

namespace {

// Every step allocates the same large arrays. Kept in the heap, their pages are there already;
// mapped one by one and returned to the system, each would be cleared anew.
void KeepLargeBlocks() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
}

// oneDNN generates code for every size of a product. Those of texts and utterances of all lengths
// are more than the 1024 that it keeps by itself.
void KeepGeneratedCode() { setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096", /*overwrite=*/0); }

int ParseAndTrain(int argc, char** argv) {
  CLI::App app("Trains a model as a recipe says", "rondo train");
  std::string recipe;
  std::vector<std::string> settings;
  rondo::TrainOptions options;
  bool show = false, keys = false;
  app.add_option("recipe", recipe, "TOML file");
  app.add_option("--set", settings, "key=value that overrides the recipe, e.g. train.lr=1e-4")
      ->take_all()
      ->allow_extra_args(true);
  app.add_flag("--resume", options.resume, "go on from the newest checkpoint of the run's folder");
  app.add_option("--stop-after", options.stop_after,
                 "leave after so many steps of the run, as a kill would");
  app.add_flag("--quiet", options.quiet, "no progress on standard error");
  app.add_flag("--show", show, "print the resolved recipe and leave");
  app.add_flag("--keys", keys, "print every key of a recipe, its default and meaning, and leave");
  CLI11_PARSE(app, argc, argv);
  if (keys) {
    std::fputs(rondo::RecipeHelp().c_str(), stdout);
    return 0;
  }
  if (recipe.empty()) {
    std::fputs("rondo train: a recipe is needed (see --help)\n", stderr);
    return 1;
  }
  const rondo::Recipe read = rondo::ReadRecipe(recipe, settings);
  if (show) {
    std::fputs(rondo::RecipeToToml(read).c_str(), stdout);
    return 0;
  }
  KeepLargeBlocks();
  KeepGeneratedCode();
  const rondo::TrainResult result = rondo::Train(read, options);
  std::printf("%lld steps, %lld tokens, %.1f minutes of training: %s\n",
              static_cast<long long>(result.steps), static_cast<long long>(result.tokens),
              result.seconds / 60, result.model.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return ParseAndTrain(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "rondo train: out of memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rondo train: %s\n", error.what());
  }
  return 1;
}
