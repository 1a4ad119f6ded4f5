#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>

#include "base/rng.h"
#include "base/stopwatch.h"
#include "eval/bench.h"
#include "kernels/kv_pages.h"
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
  double perplexity;
};

int RequestsOf(const DepthBatchingOptions& options) {
  return options.requests > 0 ? options.requests : 2 * options.sequences;
}

// Tokens of one request that come from the text.
size_t PieceSize(const DepthBatchingOptions& options) {
  return static_cast<size_t>(options.prompt + (options.follow_text ? options.new_tokens : 0));
}

std::vector<int32_t> Prompt(const Engine& engine, const DepthBatchingOptions& options, int index) {
  std::vector<int32_t> prompt;
  Rng rng(static_cast<uint64_t>(index) + 1);
  const size_t first = static_cast<size_t>(index) * PieceSize(options);
  for (int t = 0; t < options.prompt; ++t) {
    prompt.push_back(options.text.empty()
                         ? static_cast<int32_t>(rng.Uniform() * engine.config().vocab)
                         : options.text[(first + static_cast<size_t>(t)) % options.text.size()]);
  }
  return prompt;
}

Run ServeAll(const Engine& engine, const Tokenizer& tokenizer, const DepthBatchingOptions& options,
             const std::vector<double>& share, Mode mode) {
  const int64_t positions = PagesFor(options.prompt + options.new_tokens) * kPagePositions;
  Scheduler scheduler(engine, tokenizer,
                      {.max_sequences = options.sequences,
                       .kv_positions = options.sequences * positions,
                       .depth_batching = mode.depth_batching,
                       .reuse_prefixes = false});
  const int requests = RequestsOf(options);
  double loops = 0, loss = 0;
  std::string failure;
  for (int i = 0; i < requests; ++i) {
    Request request;
    request.prompt = Prompt(engine, options, i);
    if (options.follow_text) {
      const size_t piece = PieceSize(options);
      const auto follows = options.text.subspan(static_cast<size_t>(i) * piece, piece)
                               .subspan(static_cast<size_t>(options.prompt));
      request.given.assign(follows.begin(), follows.end());
    }
    request.options.max_new_tokens = options.new_tokens;
    request.options.ignore_eos = true;
    if (mode.exits) {
      request.options.exit = options.exit;
      if (!share.empty()) request.options.exit.trace = Trace(share, static_cast<uint64_t>(i) + 1);
    }
    request.on_done = [&](const Generation& result) {
      loops += std::accumulate(result.loops.begin(), result.loops.end(), 0.0);
      loss += std::accumulate(result.losses.begin(), result.losses.end(), 0.0);
      if (result.reason == StopReason::kError) failure = result.error;
    };
    scheduler.Submit(std::move(request));
  }
  const Stopwatch watch;
  while (scheduler.Step()) {
  }
  const double seconds = watch.Seconds();
  Require(failure.empty(), "", failure, "");
  const double tokens = static_cast<double>(requests) * options.new_tokens;
  return {tokens / seconds, loops / tokens, options.follow_text ? std::exp(loss / tokens) : 0};
}

// Shares of the loops, checked; empty where the model's own exits count.
std::vector<double> CheckShares(const DepthBatchingOptions& options, size_t loops) {
  if (options.exit.rule != ExitRule::kTrace) {
    Require(options.share.empty(), "share",
            "shares for exits by " + std::string(Name(options.exit.rule)),
            "none: the rule decides");
    Require(!options.text.empty(), "text", "no text", "text, which the model's exits depend on");
    return {};
  }
  std::vector<double> share = options.share;
  if (share.empty()) share.assign(loops, 1);
  Require(share.size() == loops, "share", std::to_string(share.size()) + " shares",
          "one for each of the model's " + std::to_string(loops) + " loops");
  Require(std::ranges::all_of(share, [](double s) { return s >= 0 && s < 1e9; }) &&
              std::accumulate(share.begin(), share.end(), 0.0) > 0,
          "share", "a share below 0, or none above", "shares of 0 or more, not all 0");
  return share;
}

void CheckSizes(const DepthBatchingOptions& options, const ModelConfig& config) {
  const int most = config.max_positions > 0 ? config.max_positions : 1 << 20;
  for (const auto& [field, value, limit] :
       {std::tuple("sequences", options.sequences, kMostSequences),
        std::tuple("prompt", options.prompt, most),
        std::tuple("new_tokens", options.new_tokens, most),
        std::tuple("requests", RequestsOf(options), 1'000'000),
        std::tuple("repeat", options.repeat, 1'000'000)}) {
    Require(value > 0 && value <= limit, field, "value " + std::to_string(value),
            "1 to " + std::to_string(limit));
  }
  Require(options.prompt <= most - options.new_tokens, "new_tokens",
          std::to_string(options.prompt) + " + " + std::to_string(options.new_tokens) + " tokens",
          "at most the model's " + std::to_string(most) + " positions");
  const size_t needed = static_cast<size_t>(RequestsOf(options)) * PieceSize(options);
  Require(!options.follow_text || options.text.size() >= needed, "text",
          std::to_string(options.text.size()) + " tokens",
          std::to_string(needed) + " or more: prompts and what follows them");
}

}  // namespace

DepthBatchingResult BenchDepthBatching(const Engine& engine, const Tokenizer& tokenizer,
                                       const DepthBatchingOptions& options) {
  const auto loops = static_cast<size_t>(engine.loops().loops);
  Require(loops > 1, "model", "one loop only", "a model whose layers return");
  CheckSizes(options, engine.config());
  const std::vector<double> share = CheckShares(options, loops);

  constexpr std::array<Mode, 4> kModes = {
      {{false, false}, {false, true}, {true, false}, {true, true}}};
  std::array<std::vector<double>, kModes.size()> rates;
  DepthBatchingResult result;
  for (int i = 0; i < options.repeat; ++i) {
    for (size_t m = 0; m < kModes.size(); ++m) {
      const Run run = ServeAll(engine, tokenizer, options, share, kModes[m]);
      rates[m].push_back(run.tokens_per_second);
      (kModes[m].exits ? result.perplexity_exits : result.perplexity_full) = run.perplexity;
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
