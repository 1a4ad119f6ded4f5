#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <string>
#include <utility>

#include "base/rng.h"
#include "rondo/bench.h"
#include "rondo/error.h"
#include "rondo/scheduler.h"

namespace rondo {
namespace {

constexpr size_t kTraceLength = 997;  // a prime: requests do not fall into step with it

void Require(bool ok, const char* field, std::string problem, std::string expected) {
  if (ok) return;
  throw Error({.function = "BenchDepthBatching",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = field});
}

std::vector<uint8_t> Trace(const std::vector<double>& share, uint64_t seed) {
  const double total = std::accumulate(share.begin(), share.end(), 0.0);
  Rng rng(seed);
  std::vector<uint8_t> trace(kTraceLength);
  for (uint8_t& loops : trace) {
    double left = rng.Uniform() * total;
    size_t loop = 0;
    while (loop + 1 < share.size() && left >= share[loop]) left -= share[loop++];
    loops = static_cast<uint8_t>(loop + 1);
  }
  return trace;
}

struct Mode {
  bool depth_batching;
  bool exits;
};

struct Run {
  double tokens_per_second;
  double mean_loops;
};

Run ServeAll(const Engine& engine, const Tokenizer& tokenizer, const DepthBatchingOptions& options,
             const std::vector<double>& share, Mode mode) {
  const int positions = options.prompt + options.new_tokens + 64;
  Scheduler scheduler(engine, tokenizer,
                      {.max_sequences = options.sequences,
                       .kv_positions = int64_t{options.sequences} * positions,
                       .depth_batching = mode.depth_batching,
                       .reuse_prefixes = false});
  const int requests = 2 * options.sequences;
  double loops = 0;
  std::string failure;
  for (int i = 0; i < requests; ++i) {
    const uint64_t seed = static_cast<uint64_t>(i) + 1;
    Request request;
    Rng rng(seed);
    for (int t = 0; t < options.prompt; ++t) {
      request.prompt.push_back(static_cast<int32_t>(rng.Uniform() * engine.config().vocab));
    }
    request.options.max_new_tokens = options.new_tokens;
    request.options.ignore_eos = true;
    if (mode.exits) {
      request.options.exit = {
          .rule = ExitRule::kTrace, .skipped_kv = options.skipped_kv, .trace = Trace(share, seed)};
    }
    request.on_done = [&](const Generation& result) {
      loops += std::accumulate(result.loops.begin(), result.loops.end(), 0.0);
      if (result.reason == StopReason::kError) failure = result.error;
    };
    scheduler.Submit(std::move(request));
  }
  const auto start = std::chrono::steady_clock::now();
  while (scheduler.Step()) {
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Require(failure.empty(), "", failure, "");
  const double tokens = static_cast<double>(requests) * options.new_tokens;
  return {tokens / seconds.count(), loops / tokens};
}

Rates RatesOf(std::vector<double> rates) {
  std::ranges::sort(rates);
  return {.min = rates.front(), .median = rates[rates.size() / 2], .max = rates.back()};
}

}  // namespace

DepthBatchingResult BenchDepthBatching(const Engine& engine, const Tokenizer& tokenizer,
                                       const DepthBatchingOptions& options) {
  const auto loops = static_cast<size_t>(engine.loops().loops);
  Require(loops > 1, "model", "one loop only", "a model whose layers return");
  for (const auto& [field, value] :
       {std::pair("sequences", options.sequences), std::pair("prompt", options.prompt),
        std::pair("new_tokens", options.new_tokens), std::pair("repeat", options.repeat)}) {
    Require(value > 0, field, "value " + std::to_string(value), "1 or more");
  }
  const std::vector<double> share =
      options.share.empty() ? std::vector<double>(loops, 1) : options.share;
  Require(share.size() == loops, "share", std::to_string(share.size()) + " shares",
          "one for each of the model's " + std::to_string(loops) + " loops");
  Require(std::ranges::all_of(share, [](double s) { return s >= 0 && s < 1e9; }) &&
              std::accumulate(share.begin(), share.end(), 0.0) > 0,
          "share", "a share below 0, or none above", "shares of 0 or more, not all 0");

  constexpr std::array<Mode, 4> kModes = {
      {{false, false}, {false, true}, {true, false}, {true, true}}};
  std::array<std::vector<double>, kModes.size()> rates;
  DepthBatchingResult result;
  for (int i = 0; i < options.repeat; ++i) {
    for (size_t m = 0; m < kModes.size(); ++m) {
      const Run run = ServeAll(engine, tokenizer, options, share, kModes[m]);
      rates[m].push_back(run.tokens_per_second);
      result.mean_loops = run.mean_loops;  // the last mode's
    }
  }
  result.sequences_full = RatesOf(rates[0]);
  result.sequences_exits = RatesOf(rates[1]);
  result.depths_full = RatesOf(rates[2]);
  result.depths_exits = RatesOf(rates[3]);
  return result;
}

}  // namespace rondo
