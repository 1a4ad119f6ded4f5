// Continuous depth-wise batching with early exits against continuous sequence batching at full
// depth, same model, same process, runs interleaved. Head, residuals and writing of keys and values
// are part of both.
//
//   depth_batching MODEL [--share 0.5,0.5] [--sequences 1,4,16,64] …
//
// Exits are not decided by the model but drawn once, with a fixed seed, so that the given shares of
// tokens leave after loop 1, 2, …: a trace. It shows what the engine makes of exits, not how many a
// model would take.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/scheduler.h"

namespace rondo {
namespace {

struct Options {
  std::string model;
  std::string type = "auto";
  std::string skipped_kv = "deferred";
  std::vector<double> share = {0.5, 0.5};
  std::vector<int> sequences = {1, 4, 16, 64};
  int prompt = 32;
  int new_tokens = 48;
  int rounds = 3;
  int threads = 0;
};

struct Mode {
  const char* name;
  bool depth_batching;
  bool exits;
};
constexpr Mode kModes[] = {{"sequences, full depth", false, false},
                           {"sequences, exits", false, true},
                           {"depths, full depth", true, false},
                           {"depths, exits", true, true}};

std::vector<uint8_t> Trace(const std::vector<double>& share, uint64_t seed) {
  const double total = std::accumulate(share.begin(), share.end(), 0.0);
  Rng rng(seed);
  std::vector<uint8_t> trace(997);
  for (uint8_t& loops : trace) {
    double left = rng.Uniform() * total;
    size_t loop = 0;
    while (loop + 1 < share.size() && left >= share[loop]) left -= share[loop++];
    loops = static_cast<uint8_t>(loop + 1);
  }
  return trace;
}

// New tokens a second of twice as many requests as run at once; prompts are in the time.
double TokensPerSecond(const Engine& engine, const Tokenizer& tokenizer, const Options& options,
                       const Mode& mode, int sequences) {
  Scheduler scheduler(
      engine, tokenizer,
      {.max_sequences = sequences,
       .kv_positions = int64_t{sequences} * (options.prompt + options.new_tokens + 64),
       .depth_batching = mode.depth_batching,
       .reuse_prefixes = false});
  const int requests = 2 * sequences;
  for (int i = 0; i < requests; ++i) {
    Request request;
    Rng rng(static_cast<uint64_t>(i) + 1);
    for (int t = 0; t < options.prompt; ++t) {
      request.prompt.push_back(static_cast<int32_t>(rng.Uniform() * engine.config().vocab));
    }
    request.options.max_new_tokens = options.new_tokens;
    request.options.ignore_eos = true;
    if (mode.exits) {
      request.options.exit = {.rule = ExitRule::kTrace,
                              .skipped_kv = SkippedKvFromName(options.skipped_kv),
                              .trace = Trace(options.share, static_cast<uint64_t>(i) + 1)};
    }
    scheduler.Submit(std::move(request));
  }
  const auto start = std::chrono::steady_clock::now();
  while (scheduler.Step()) {
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return requests * options.new_tokens / seconds.count();
}

void Run(const Options& options) {
  ThreadPool pool(options.threads);
  const Model model = LoadModel(options.model);
  const auto tokenizer = LoadTokenizer(model.path);
  const Engine engine(model, cli::ToEngineOptions(options.type, "auto"), pool);
  if (static_cast<size_t>(engine.loops().loops) != options.share.size()) {
    throw Error({.function = "depth_batching",
                 .problem = std::to_string(options.share.size()) + " shares",
                 .expected = "one for each of the model's " + std::to_string(engine.loops().loops) +
                             " loops",
                 .file = {},
                 .field = "--share"});
  }
  std::printf("%s: %d loops of %d depths, %d threads, %d + %d tokens a request, best of %d\n",
              options.model.c_str(), engine.loops().loops, engine.loops().stages, pool.threads(),
              options.prompt, options.new_tokens, options.rounds);
  std::printf("exits by trace, shares");
  for (const double share : options.share) std::printf(" %.2f", share);
  std::printf("; skipped keys and values: %s\n\n%-24s", options.skipped_kv.c_str(), "tok/s");
  for (const int sequences : options.sequences) std::printf("%10d", sequences);
  std::printf("   sequences at once\n");
  std::vector<std::vector<double>> best(std::size(kModes),
                                        std::vector<double>(options.sequences.size()));
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t s = 0; s < options.sequences.size(); ++s) {
      for (size_t m = 0; m < std::size(kModes); ++m) {
        best[m][s] = std::max(best[m][s], TokensPerSecond(engine, *tokenizer, options, kModes[m],
                                                          options.sequences[s]));
      }
    }
  }
  for (size_t m = 0; m < std::size(kModes); ++m) {
    std::printf("%-24s", kModes[m].name);
    for (const double rate : best[m]) std::printf("%10.1f", rate);
    std::printf("\n");
  }
  std::printf("%-24s", "depths, exits / first");
  for (size_t s = 0; s < options.sequences.size(); ++s) {
    std::printf("%9.2fx", best[3][s] / best[0][s]);
  }
  std::printf("\npeak memory %.0f MB\n", static_cast<double>(PeakMemoryBytes()) / 1e6);
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  rondo::Options options;
  CLI::App app("depth-wise batching with exits against sequence batching at full depth");
  app.add_option("model", options.model)->required();
  app.add_option("--type", options.type, "of packed weights")->capture_default_str();
  app.add_option("--share", options.share, "of tokens that leave after each loop")->delimiter(',');
  app.add_option("--sequences", options.sequences, "at once")->delimiter(',');
  app.add_option("--skipped-kv", options.skipped_kv)->capture_default_str();
  app.add_option("--prompt", options.prompt)->capture_default_str();
  app.add_option("--new", options.new_tokens)->capture_default_str();
  app.add_option("--rounds", options.rounds)->capture_default_str();
  app.add_option("--threads,-t", options.threads)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    rondo::Run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "depth_batching: %s\n", error.what());
    return 1;
  }
  return 0;
}
