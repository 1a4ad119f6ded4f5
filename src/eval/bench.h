// Speed of a model on this machine, beside what its memory traffic allows.
//
//   BenchResult r = Bench(engine, {.prefill = 512, .decode = 128}, pool);
//   r.decode.median              // tokens a second
//   r.traffic.BytesPerToken()    // what must be read for one of them
//   r.CeilingTokensPerSecond()   // what that allows at the measured bandwidth
//
// Tokens are drawn at random: their values do not change the work. Sampling is not part of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/engine.h"
#include "rondo/generate.h"
#include "rondo/tokenizer.h"

namespace rondo {

inline constexpr int kMostSequences = 4096;  // that a measurement takes at once

struct BenchOptions {
  int prefill = 512;  // tokens of the prompt that is measured; 0: none
  int decode = 128;   // tokens that each sequence writes; 0: none
  int batch = 1;      // sequences that write together
  int context = 0;    // positions each of them holds before
  int repeat = 5;     // times everything is measured, prefill and decode in turn
};

// Rates of the repeats. The largest is what the machine can do, the median what it did.
struct Rates {
  double min = 0, median = 0, max = 0;  // tokens a second; 0: not measured
};
Rates RatesOf(std::vector<double> values);  // zeros when there are none

// Bytes read for one token of a decode step, all its sequences sharing each read of a weight. A
// weight that comes back before a cache's worth of others was read is read from the cache.
struct DecodeTraffic {
  double memory_weights = 0;
  double cached_weights = 0;
  double kv = 0;  // keys and values at the mean length of the run
  double BytesPerToken() const { return memory_weights + kv; }  // from memory
};

// `reads` are one step's (Engine::ReadOrder), repeated for ever; the cache keeps what was used
// last.
DecodeTraffic EstimateTraffic(std::span<const WeightRead> reads, uint64_t kv_bytes_per_sequence,
                              int batch, uint64_t cache_bytes);

struct BenchResult {
  Rates prefill;
  Rates decode;  // of all sequences together
  DecodeTraffic traffic;
  uint64_t cache_bytes = 0;            // last cache, as counted in `traffic`
  double memory_bytes_per_second = 0;  // measured, as cache_bytes_per_second
  double cache_bytes_per_second = 0;
  int64_t peak_memory_bytes = 0;  // of the process, before the bandwidths were measured
  // 0 when there is nothing to decode.
  double CeilingTokensPerSecond() const;
};

// Throws when the options make no sense for the model.
BenchResult Bench(const Engine& engine, const BenchOptions& options, ThreadPool& pool);

// Continuous depth-wise batching with early exits against continuous sequence batching at full
// depth: the same requests through the scheduler, prompts, head and writing of keys and values
// included. With the rule kTrace exits are not the model's: they are drawn once, with a fixed seed,
// so that the given shares of tokens leave after loop 1, 2, …. That shows what the engine makes of
// exits, not how many a model would take; for a model whose exits are trained give another rule and
// text.
struct DepthBatchingOptions {
  int sequences = 16;   // at once; twice as many requests are served
  int prompt = 32;      // tokens of each
  int new_tokens = 96;  // that each writes
  ExitOptions exit = {.rule = ExitRule::kTrace, .skipped_kv = SkippedKv::kLastLoop};
  std::vector<double> share;  // [loops] for kTrace; empty: the same for every loop
  // Prompts are consecutive pieces of it, from the beginning again when it ends; empty: random
  // tokens.
  std::span<const int32_t> text;
  // Writes what follows each prompt in the text instead of what the model draws, so that speed and
  // perplexity are of the same tokens, exits and keys and values.
  bool follow_text = false;
  int requests = 0;  // 0: twice as many as sequences
  int repeat = 3;    // all four in turn
};

struct DepthBatchingResult {  // new tokens a second
  Rates sequences_full;       // sequence batching, all loops
  Rates sequences_exits;      // … with exits
  Rates depths_full;          // depth-wise batching, all loops
  Rates depths_exits;         // … with exits
  double mean_loops = 0;      // a token, with exits
  // Of the text's tokens with follow_text, with all loops and with exits; else 0. Batches do not
  // change it.
  double perplexity_full = 0, perplexity_exits = 0;
};

// Throws when the options make no sense for the model, or it has one loop only.
DepthBatchingResult BenchDepthBatching(const Engine& engine, const Tokenizer& tokenizer,
                                       const DepthBatchingOptions& options);

}  // namespace rondo
