#include "eval/bench.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/machine.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "kernels/bandwidth.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

void Require(bool ok, const char* field, int value, std::string expected) {
  if (ok) return;
  throw Error({.function = "Bench",
               .problem = std::to_string(value),
               .expected = std::move(expected),
               .field = field});
}

void Check(const BenchOptions& options, const ModelConfig& config) {
  Require(options.prefill >= 0, "prefill", options.prefill, "0 or more");
  Require(options.decode >= 0, "decode", options.decode, "0 or more");
  Require(options.prefill > 0 || options.decode > 0, "decode", options.decode,
          "tokens to prefill or to decode");
  Require(options.context >= 0, "context", options.context, "0 or more");
  Require(options.repeat >= 1, "repeat", options.repeat, "1 or more");
  Require(options.batch >= 1 && options.batch <= kMostSequences, "batch", options.batch,
          "1 to " + std::to_string(kMostSequences));
  const int most = config.max_positions > 0 ? config.max_positions : 1 << 20;
  const std::string limit = "at most the model's " + std::to_string(most) + " positions";
  Require(options.prefill <= most, "prefill", options.prefill, limit);
  Require(options.context <= most, "context", options.context, limit);
  Require(options.decode <= most - options.context, "decode", options.decode,
          limit + " with the context");
}

class Runner {
 public:
  Runner(const Engine& engine, const BenchOptions& options) : engine_(engine), options_(options) {
    if (options.prefill > 0) prompt_.push_back(engine.NewCache(options.prefill));
    if (options.decode == 0) return;
    for (int i = 0; i < options.batch; ++i) {
      caches_.push_back(engine.NewCache(options.context + options.decode));
    }
    const std::vector<int32_t> context = Tokens(options.context);
    for (KvCache& cache : caches_) {
      if (options.context > 0) engine.Prefill(cache, context);
    }
    // The first step of all is slower: memory is committed, threads wake.
    DecodeOnce(std::min(options.decode, 4));
  }

  double PrefillOnce() {
    const std::vector<int32_t> tokens = Tokens(options_.prefill);
    prompt_.front().Truncate(0);
    const Stopwatch watch;
    engine_.Prefill(prompt_.front(), tokens);
    return options_.prefill / watch.Seconds();
  }

  double DecodeOnce(int steps) {
    std::vector<KvCache*> caches;
    for (KvCache& cache : caches_) {
      cache.Truncate(options_.context);
      caches.push_back(&cache);
    }
    const std::vector<int32_t> tokens = Tokens(steps * options_.batch);
    const Stopwatch watch;
    for (int step = 0; step < steps; ++step) {
      engine_.Decode(caches, std::span(tokens).subspan(static_cast<size_t>(step) * caches.size(),
                                                       caches.size()));
    }
    return steps * options_.batch / watch.Seconds();
  }

 private:
  std::vector<int32_t> Tokens(int count) {
    std::vector<int32_t> tokens;
    const auto vocab = static_cast<uint64_t>(engine_.config().vocab);
    for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(rng_.Next() % vocab));
    return tokens;
  }

  const Engine& engine_;
  const BenchOptions& options_;
  Rng rng_{1};
  std::vector<KvCache> prompt_;  // one, if there is a prompt to measure
  std::vector<KvCache> caches_;
};

// Bytes of the keys and values that one step reads of a sequence at the mean length of the run.
uint64_t MeanKvBytes(const Engine& engine, const BenchOptions& options) {
  const auto length = static_cast<uint64_t>(options.context + (options.decode + 1) / 2);
  return length * engine.NewPool(1).bytes_per_position();
}

uint64_t LastCacheBytes(const ThreadPool& pool) {
  return static_cast<uint64_t>(
      std::max(DataCacheBytes(3), DataCacheBytes(2) * int64_t{pool.threads()}));
}

}  // namespace

Rates RatesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const size_t n = values.size();
  return {values.front(), (values[(n - 1) / 2] + values[n / 2]) / 2, values.back()};
}

BenchResult Bench(const Engine& engine, const BenchOptions& options, ThreadPool& pool) {
  Check(options, engine.config());
  Runner runner(engine, options);
  std::vector<double> prefill, decode;
  for (int i = 0; i < options.repeat; ++i) {
    if (options.prefill > 0) prefill.push_back(runner.PrefillOnce());
    if (options.decode > 0) decode.push_back(runner.DecodeOnce(options.decode));
  }
  BenchResult result;
  result.prefill = RatesOf(std::move(prefill));
  result.decode = RatesOf(std::move(decode));
  result.peak_memory_bytes = PeakMemoryBytes();
  result.cache_bytes = LastCacheBytes(pool);
  result.memory_bytes_per_second = MeasureReadBandwidth(kMemoryBandwidthBuffer, pool);
  result.cache_bytes_per_second = MeasureReadBandwidth(result.cache_bytes / 2, pool);
  if (options.decode > 0) {
    result.traffic = EstimateTraffic(engine.ReadOrder(), MeanKvBytes(engine, options),
                                     options.batch, result.cache_bytes);
  }
  return result;
}

}  // namespace rondo
