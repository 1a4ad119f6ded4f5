#include <algorithm>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/options.h"
#include "base/stopwatch.h"
#include "cli/output.h"
#include "cli/session.h"
#include "eval/bench.h"
#include "tensor/dtype_names.h"
#include "text/tokenizer/load_spec.h"

namespace rondo::cli {
namespace {

// What a user waits for before the first word: everything from opening the files on.
struct Start {
  double open_seconds = 0;         // configuration read, weights mapped
  double tokenizer_seconds = 0;    // 0: the model has none
  double pack_seconds = 0;         // weights brought into the kernels' order
  double first_token_seconds = 0;  // all of it and a prompt of eight tokens
};

void FirstToken(const Engine& engine) {
  constexpr int kPrompt = 8;
  const int count = std::min(kPrompt, engine.config().max_positions);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(i % engine.config().vocab);
  KvCache cache = engine.NewCache(count);
  engine.Prefill(cache, tokens);
}

void AddRates(Output& out, const std::string& name, const Rates& rates) {
  if (rates.median == 0) return;
  out.Add(name, rates.median);
  out.Add(name + "_min", rates.min);
  out.Add(name + "_max", rates.max);
}

void AddCeiling(Output& out, const BenchResult& result) {
  const double ceiling = result.CeilingTokensPerSecond();
  if (ceiling == 0) return;
  out.Add("bytes_per_token", result.traffic.BytesPerToken());
  out.Add("kv_bytes_per_token", result.traffic.kv);
  out.Add("cached_bytes_per_token", result.traffic.cached_weights);
  out.Add("last_cache_bytes", static_cast<int64_t>(result.cache_bytes));
  out.Add("memory_read_gb_per_s", result.memory_bytes_per_second / 1e9);
  out.Add("cache_read_gb_per_s", result.cache_bytes_per_second / 1e9);
  out.Add("ceiling_tok_per_s", ceiling);
  out.Add("share_of_ceiling", result.decode.median / ceiling);
}

// Defaults shrink to what the model has positions for.
BenchOptions ForModel(const BenchCommandOptions& options, const ModelConfig& config) {
  constexpr int kAnyNumber = 1 << 20;
  BenchOptions bench = options.bench;
  const int positions = config.max_positions > 0 ? config.max_positions : kAnyNumber;
  // A prompt and what is written behind it share the positions; otherwise each is measured alone.
  const int room = options.depth_batching ? positions / 2 : positions;
  bench.decode =
      Fitting("--decode", options.decode, bench.decode, std::max(0, room - bench.context));
  const int rest = options.depth_batching ? positions - bench.decode : positions;
  bench.prefill = Fitting("--prefill", options.prefill, bench.prefill, rest);
  return bench;
}

int RunDepthBatching(const BenchCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  const BenchOptions bench = ForModel(options, model.config);
  const auto tokenizer = LoadTokenizer(model.path);
  const Engine engine(model, options.engine, pool);
  std::vector<int32_t> text;
  if (!options.text.empty()) text = EncodeFile(*tokenizer, options.text);
  const DepthBatchingResult result = BenchDepthBatching(engine, *tokenizer,
                                                        {.sequences = bench.batch,
                                                         .prompt = bench.prefill,
                                                         .new_tokens = bench.decode,
                                                         .exit = options.exit,
                                                         .share = options.exit_share,
                                                         .text = text,
                                                         .follow_text = options.follow_text,
                                                         .requests = options.requests,
                                                         .repeat = bench.repeat});
  Output out;
  out.Add("type", ToText(options.engine.weights));
  out.Add("threads", pool.threads());
  out.Add("sequences", bench.batch);
  out.Add("mean_loops", result.mean_loops);
  if (options.follow_text) {
    out.Add("perplexity_full", result.perplexity_full);
    out.Add("perplexity_exits", result.perplexity_exits);
  }
  AddRates(out, "sequences_full_tok_per_s", result.sequences_full);
  AddRates(out, "sequences_exits_tok_per_s", result.sequences_exits);
  AddRates(out, "depths_full_tok_per_s", result.depths_full);
  AddRates(out, "depths_exits_tok_per_s", result.depths_exits);
  out.Add("speedup", result.depths_exits.median / result.sequences_full.median);
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace

int RunBench(const BenchCommandOptions& options, const CommonOptions& common) {
  if (options.depth_batching) return RunDepthBatching(options, common);
  ThreadPool pool(common.threads);
  Start start;
  const Stopwatch watch;
  const Model model = LoadAdapted(options.model, common, pool);
  start.open_seconds = watch.Seconds();
  if (!FindTokenizerFile(model.path).empty()) LoadTokenizer(model.path);
  start.tokenizer_seconds = watch.Seconds() - start.open_seconds;
  const Engine engine(model, options.engine, pool);
  const double load_seconds = watch.Seconds();
  start.pack_seconds = load_seconds - start.open_seconds - start.tokenizer_seconds;
  FirstToken(engine);
  start.first_token_seconds = watch.Seconds();

  const BenchResult result = Bench(engine, ForModel(options, model.config), pool);
  Output out;
  out.Add("type", ToText(options.engine.weights));
  out.Add("threads", pool.threads());
  AddRates(out, "prefill_tok_per_s", result.prefill);
  AddRates(out, "decode_tok_per_s", result.decode);
  AddCeiling(out, result);
  out.Add("load_seconds", load_seconds);
  out.Add("open_seconds", start.open_seconds);
  out.Add("tokenizer_seconds", start.tokenizer_seconds);
  out.Add("pack_seconds", start.pack_seconds);
  out.Add("first_token_seconds", start.first_token_seconds);
  out.Add("weight_bytes", static_cast<int64_t>(engine.weight_bytes()));
  out.Add("peak_memory_bytes", result.peak_memory_bytes);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
