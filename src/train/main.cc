#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/shared_visit.h"
#include "kernels/simd_targets.h"
#include "train/recipe/recipe.h"
#include "train/trainer.h"

namespace rondo {
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

struct TrainCommandOptions {
  std::string recipe;
  std::vector<std::string> settings;
  TrainOptions train;
  bool show = false, keys = false;
};

template <typename Visitor>
void Visit(TrainCommandOptions& o, Visitor& v) {
  const Condition asks = {!o.keys, "without --keys"};
  const Condition trains = Both(asks, {!o.show, "without --show"});
  v({.name = "recipe", .help = "TOML file", .when = asks, .positional = true}, o.recipe);
  v({.name = "set",
     .help = "key=value that overrides the recipe, e.g. train.lr=1e-4",
     .when = asks,
     .whole = true},
    o.settings);
  v({.name = "resume",
     .help = "go on from the newest checkpoint of the run's folder",
     .when = trains},
    o.train.resume);
  v({.name = "stop_after",
     .help = "leave after this many steps of the run, as a kill would; 0: at the end",
     .when = trains},
    o.train.stop_after);
  v({.name = "show", .help = "print the resolved recipe and leave", .when = asks}, o.show);
  v({.name = "keys", .help = "print every key of a recipe, its default and meaning, and leave"},
    o.keys);
}

void PrintToml(const std::string& toml, bool json) {
  std::fputs(json ? (TomlToJson(toml) + "\n").c_str() : toml.c_str(), stdout);
}

void PrintResult(const TrainResult& result, bool json) {
  if (!json) {
    std::printf("%lld steps, %lld tokens, %.1f minutes of training: %s\n",
                static_cast<long long>(result.steps), static_cast<long long>(result.tokens),
                result.seconds / 60,
                (result.rounded.empty() ? result.model : result.rounded).c_str());
    return;
  }
  cli::Output out;
  out.Add("model", result.model);
  if (!result.rounded.empty()) out.Add("rounded", result.rounded);
  out.Add("steps", result.steps);
  out.Add("tokens", result.tokens);
  out.Add("seconds", result.seconds);
  out.Add("valid_perplexity", result.valid_perplexity);
  out.Print(true);
}

int ParseAndTrain(int argc, char** argv) {
  TrainCommandOptions options;
  cli::CommonOptions common;
  cli::Program program("rondo train", "Trains a model as a recipe says (docs/training.md)");
  cli::Flags& flags = program.flags();
  Visit(options, flags);
  cli::Visit(common, flags);
  if (const auto code = program.Parse(argc, argv)) return *code;
  cli::IdleFlags idle(flags);
  Visit(options, idle);
  if (options.keys) {
    PrintToml(RecipeHelp(), common.json);
    return 0;
  }
  if (options.recipe.empty()) {
    throw UsageError({.function = "ParseAndTrain", .problem = "a recipe is needed (see --help)"});
  }
  if (flags.Given("threads")) {
    options.settings.push_back("run.threads=" + std::to_string(common.threads));
  }
  const Recipe recipe = ReadRecipe(options.recipe, options.settings);
  if (options.show) {
    PrintToml(RecipeToToml(recipe), common.json);
    return 0;
  }
  SetKernelTarget(common.simd);
  KeepLargeBlocks();
  KeepGeneratedCode();
  options.train.quiet = common.quiet;
  PrintResult(Train(recipe, options.train), common.json);
  return 0;
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  return rondo::cli::Guarded("rondo train", [&] { return rondo::ParseAndTrain(argc, argv); });
}
