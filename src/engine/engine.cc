#include "rondo/engine.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/machine.h"
#include "base/strings.h"
#include "engine/kv_cache.h"
#include "engine/layer.h"
#include "engine/packed_model.h"
#include "engine/read_order.h"
#include "engine/rows.h"
#include "engine/workspace.h"
#include "kernels/rope.h"
#include "kernels/row_ops.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Rows of one prefill step: enough to amortise reading the weights, few enough to bound memory.
constexpr size_t kPrefillRows = 512;

[[noreturn]] void Fail(const char* function, std::string problem, std::string expected) {
  throw Error({.function = function,
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = {}});
}

// Linears of one layer are read once for all its rows.
bool SameBlocks(const LayerUse& a, const LayerUse& b) {
  return std::ranges::equal(a.linears, b.linears, {}, &LinearUse::weight, &LinearUse::weight);
}

void CheckTokens(const ModelConfig& config, std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    if (token >= 0 && token < config.vocab) continue;
    Fail("Engine::Embed", "token " + std::to_string(token),
         "0 to " + std::to_string(config.vocab - 1));
  }
}

void CheckPosition(const ModelConfig& config, int position) {
  const bool learned = config.positions == PositionKind::kLearned;
  if (position >= 0 && (!learned || position < config.max_positions)) return;
  Fail("Engine::Embed", "position " + std::to_string(position),
       learned ? "0 to " + std::to_string(config.max_positions - 1) : "0 or more");
}

}  // namespace

struct Engine::Impl {
  Impl(const Model& model, const EngineOptions& engine_options, ThreadPool& thread_pool)
      : config(model.config),
        loops(FindLoops(model.plan)),
        options(engine_options),
        pool(thread_pool),
        weights(model, options.weights, pool),
        rope(config, false),
        local_rope(config, true) {}

  KvType kv_type() const {
    return options.kv.value_or(weights.head().weight->type() == DType::kF32 ? KvType::kF32
                                                                            : KvType::kBF16);
  }

  LayerContext Context(const Tap& tap, Workspace& space) const {
    return {.config = config,
            .rope = rope,
            .local_rope = local_rope,
            .tap = tap,
            .space = space,
            .pool = pool};
  }

  // Checks all spans before anything changes, then makes their positions writable and counts them.
  std::vector<LayerSpan> Prepare(std::span<const RowSpan> spans) const;

  ModelConfig config;
  LoopShape loops;
  EngineOptions options;
  ThreadPool& pool;
  PackedModel weights;
  Rope rope, local_rope;
  mutable WorkspacePool spaces;
};

std::vector<LayerSpan> Engine::Impl::Prepare(std::span<const RowSpan> spans) const {
  std::map<std::pair<KvCache*, int>, int> lengths;  // of caches at depths, after the step
  for (const RowSpan& span : spans) {
    if (span.depth < 0 || span.depth >= config.layers) {
      Fail("Engine::RunLayer", "depth " + std::to_string(span.depth),
           "0 to " + std::to_string(config.layers - 1));
    }
    if (!SameBlocks(weights.layer(spans[0].depth), weights.layer(span.depth))) {
      Fail("Engine::RunLayer",
           "depths " + std::to_string(spans[0].depth) + " and " + std::to_string(span.depth),
           "depths that use the same blocks");
    }
    const KvCache::State& state = *span.cache->state_;
    int& length = lengths.emplace(std::pair(span.cache, span.depth), span.cache->length(span.depth))
                      .first->second;
    if (span.count < 0 || span.first_position < 0 || span.first_position > length ||
        span.count > state.capacity - span.first_position) {
      Fail("Engine::RunLayer",
           std::to_string(span.count) + " positions from " + std::to_string(span.first_position) +
               " on, after " + std::to_string(length) + " computed",
           "no gap, and at most the cache's capacity of " + std::to_string(state.capacity));
    }
    length = span.first_position + span.count;
  }
  for (const RowSpan& span : spans) {
    span.cache->state_->sequence.Reserve(span.first_position, span.first_position + span.count);
  }
  std::vector<LayerSpan> prepared;
  for (const RowSpan& span : spans) {
    if (span.count == 0) continue;
    prepared.push_back({.layer = &weights.layer(span.depth),
                        .depth = span.depth,
                        .kv = span.cache->state_->sequence.At(span.depth),
                        .first_position = span.first_position,
                        .count = span.count,
                        .text_length = span.cache->state_->expected});
  }
  for (const auto& [at, length] : lengths) {
    at.first->state_->lengths[static_cast<size_t>(at.second)] = length;
  }
  return prepared;
}

Engine::Engine(const Model& model, const EngineOptions& options, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(model, options, pool)) {}

Engine::~Engine() = default;

const ModelConfig& Engine::config() const { return impl_->config; }

const LoopShape& Engine::loops() const { return impl_->loops; }

uint64_t Engine::weight_bytes() const { return impl_->weights.bytes(); }

std::vector<WeightRead> Engine::ReadOrder() const {
  return rondo::ReadOrder(impl_->weights, impl_->config.layers);
}

KvPool Engine::NewPool(int64_t positions) const {
  if (positions <= 0) {
    Fail("Engine::NewPool", std::to_string(positions) + " positions", "1 or more");
  }
  const int64_t pages = PagesFor(positions);
  const KvLayout layout = LayoutOfKv(impl_->config, impl_->kv_type());
  auto pool = std::make_shared<KvPagePool>(layout, impl_->config.layers, pages);
  const uint64_t bytes = CheckedMul(pool->page_bytes(), static_cast<uint64_t>(pages));
  if (bytes > static_cast<uint64_t>(PhysicalMemoryBytes())) {
    Fail("Engine::NewPool",
         std::to_string(positions) + " positions, which take " + HumanBytes(bytes),
         "a cache that fits in memory");
  }
  return KvPool(std::make_unique<KvPool::State>(KvPool::State{std::move(pool)}));
}

KvCache Engine::NewCache(int capacity) const { return NewPool(capacity).NewCache(capacity); }

void Engine::Embed(std::span<const int32_t> tokens, std::span<const int> positions,
                   float* hidden) const {
  const ModelConfig& config = impl_->config;
  if (tokens.size() != positions.size()) {
    Fail("Engine::Embed", std::to_string(positions.size()) + " positions",
         "one per token, " + std::to_string(tokens.size()));
  }
  CheckTokens(config, tokens);
  for (const int position : positions) CheckPosition(config, position);
  const bool learned = config.positions == PositionKind::kLearned;
  const int64_t d = config.d_model;
  std::vector<float> position_row(learned ? static_cast<size_t>(d) : 0);
  impl_->weights.EmbedRows(tokens, hidden, impl_->pool);
  for (size_t i = 0; i < tokens.size(); ++i, hidden += d) {
    if (config.embed_scale != 1) Scale(hidden, config.embed_scale, d);
    if (!learned) continue;
    RowToF32(impl_->weights.positions(), positions[i], position_row.data());
    AddTo(hidden, position_row.data(), d);
  }
}

void Engine::RunLayer(std::span<const RowSpan> spans, float* hidden, const Tap& tap) const {
  auto space = impl_->spaces.Take();
  const auto layer_spans = impl_->Prepare(spans);
  if (!layer_spans.empty()) rondo::RunLayer(impl_->Context(tap, *space), layer_spans, hidden);
}

void Engine::FillKv(std::span<const RowSpan> spans, const float* hidden) const {
  auto space = impl_->spaces.Take();
  const auto layer_spans = impl_->Prepare(spans);
  if (!layer_spans.empty()) rondo::FillKv(impl_->Context({}, *space), layer_spans, hidden);
}

void Engine::Head(const float* hidden, int64_t rows, float* logits) const {
  const ModelConfig& config = impl_->config;
  auto space = impl_->spaces.Take();
  float* normed = (*space).normed.Get(rows * config.d_model);
  RunNorm(config, impl_->weights.final_norm(), hidden, rows, config.d_model, normed, impl_->pool);
  RunLinear(impl_->weights.head(), normed, rows, logits, impl_->pool, &(*space).low);
  if (config.logit_softcap <= 0) return;
  ForRows(impl_->pool, rows, config.vocab, [&](int64_t r) {
    SoftCap(logits + r * config.vocab, config.logit_softcap, config.vocab);
  });
}

bool Engine::has_exit_gate() const { return impl_->weights.exit_gates() > 0; }

double Engine::ExitGate(int loops_run, std::span<const float> hidden) const {
  const int gates = impl_->weights.exit_gates();
  if (loops_run < 1 || loops_run > gates) {
    Fail("Engine::ExitGate", "gate after loop " + std::to_string(loops_run),
         gates == 0 ? "a model that has exit gates" : "1 to " + std::to_string(gates));
  }
  const GateUse& gate = impl_->weights.exit_gate(loops_run - 1);
  double dot = 0, squares = 0;
  for (size_t i = 0; i < hidden.size(); ++i) {
    dot += double{gate.weight[i]} * hidden[i];
    squares += double{hidden[i]} * hidden[i];
  }
  const double rms = std::sqrt(squares / static_cast<double>(hidden.size()));
  return 1 / (1 + std::exp(-((rms > 0 ? dot / rms : 0) + double{*gate.bias})));
}

std::vector<float> Engine::Prefill(KvCache& cache, std::span<const int32_t> tokens,
                                   bool all_logits) const {
  const ModelConfig& config = impl_->config;
  const int first = cache.length();
  if (tokens.size() > static_cast<size_t>(cache.capacity() - first)) {
    Fail("Engine::Prefill",
         std::to_string(tokens.size()) + " tokens after " + std::to_string(first),
         "at most the cache's capacity of " + std::to_string(cache.capacity()));
  }
  if (tokens.empty()) return {};
  // Before anything is computed, so that a refused prompt leaves the cache as it was.
  CheckTokens(config, tokens);
  CheckPosition(config, first + static_cast<int>(tokens.size()) - 1);
  cache.ExpectLength(first + static_cast<int>(tokens.size()));
  const auto d = static_cast<size_t>(config.d_model), vocab = static_cast<size_t>(config.vocab);
  std::vector<float> logits(all_logits ? CheckedMul(tokens.size(), vocab) : vocab);
  std::vector<float> hidden(std::min(tokens.size(), kPrefillRows) * d);
  for (size_t done = 0; done < tokens.size(); done += kPrefillRows) {
    const size_t rows = std::min(kPrefillRows, tokens.size() - done);
    RowSpan span{&cache, 0, first + static_cast<int>(done), static_cast<int>(rows)};
    std::vector<int> positions(rows);
    std::iota(positions.begin(), positions.end(), span.first_position);
    Embed(tokens.subspan(done, rows), positions, hidden.data());
    for (; span.depth < config.layers; ++span.depth) RunLayer({&span, 1}, hidden.data());
    if (all_logits) {
      Head(hidden.data(), static_cast<int64_t>(rows), logits.data() + done * vocab);
    } else if (done + rows == tokens.size()) {
      Head(hidden.data() + (rows - 1) * d, 1, logits.data());
    }
  }
  return logits;
}

std::vector<float> Engine::Decode(std::span<KvCache* const> caches,
                                  std::span<const int32_t> tokens) const {
  const ModelConfig& config = impl_->config;
  if (caches.size() != tokens.size() ||
      std::set<KvCache*>(caches.begin(), caches.end()).size() != caches.size()) {
    Fail("Engine::Decode",
         std::to_string(tokens.size()) + " tokens for " + std::to_string(caches.size()) + " caches",
         "one token for each, all caches different");
  }
  std::vector<RowSpan> rows;
  std::vector<int> positions;
  for (KvCache* cache : caches) {
    if (cache->length() >= cache->capacity()) {
      Fail("Engine::Decode", "a token after " + std::to_string(cache->length()),
           "at most the cache's capacity of " + std::to_string(cache->capacity()));
    }
    positions.push_back(cache->length());
    rows.push_back({cache, 0, cache->length(), 1});
  }
  std::vector<float> hidden(tokens.size() * static_cast<size_t>(config.d_model));
  std::vector<float> logits(tokens.size() * static_cast<size_t>(config.vocab));
  Embed(tokens, positions, hidden.data());
  for (int depth = 0; depth < config.layers; ++depth) {
    for (RowSpan& row : rows) row.depth = depth;
    RunLayer(rows, hidden.data());
  }
  Head(hidden.data(), static_cast<int64_t>(tokens.size()), logits.data());
  return logits;
}

}  // namespace rondo
