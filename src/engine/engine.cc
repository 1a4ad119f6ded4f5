#include "rondo/engine.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/strings.h"
#include "engine/kv_cache.h"
#include "engine/layer.h"
#include "engine/packed_model.h"
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

uint64_t PhysicalMemory() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::vector<float> Frequencies(const ModelConfig& config, bool local) {
  if (config.positions != PositionKind::kRope) return {};
  return RopeFrequencies(config, local);
}

}  // namespace

struct Engine::Impl {
  Impl(const Model& model, const EngineOptions& engine_options, ThreadPool& thread_pool)
      : config(model.config),
        options(engine_options),
        pool(thread_pool),
        weights(model, options.weights, pool),
        frequencies(Frequencies(config, false)),
        local_frequencies(Frequencies(config, true)) {}

  ModelConfig config;
  EngineOptions options;
  ThreadPool& pool;
  PackedModel weights;
  std::vector<float> frequencies;
  std::vector<float> local_frequencies;
  mutable WorkspacePool spaces;
};

Engine::Engine(const Model& model, const EngineOptions& options, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(model, options, pool)) {}

Engine::~Engine() = default;

const ModelConfig& Engine::config() const { return impl_->config; }

uint64_t Engine::weight_bytes() const { return impl_->weights.bytes(); }

KvCache Engine::NewCache(int capacity) const {
  if (capacity <= 0) Fail("Engine::NewCache", "capacity " + std::to_string(capacity), "1 or more");
  const ModelConfig& config = impl_->config;
  const uint64_t bytes = CheckedMul(
      KvPanels::BytesFor(ShapeOfAttention(config, false), capacity, impl_->options.weights),
      static_cast<uint64_t>(config.layers));
  if (bytes > PhysicalMemory()) {
    Fail("Engine::NewCache",
         "capacity " + std::to_string(capacity) + ", which takes " + HumanBytes(bytes),
         "a cache that fits in memory");
  }
  auto state = std::make_unique<KvCache::State>();
  state->capacity = capacity;
  state->lengths.resize(static_cast<size_t>(config.layers));
  for (int depth = 0; depth < config.layers; ++depth) {
    state->depths.emplace_back(ShapeOfAttention(config, config.IsLocal(depth)), capacity,
                               impl_->options.weights);
  }
  return KvCache(std::move(state));
}

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
  for (size_t i = 0; i < tokens.size(); ++i, hidden += d) {
    RowToF32(impl_->weights.embedding(), tokens[i], hidden);
    if (config.embed_scale != 1) Scale(hidden, config.embed_scale, d);
    if (!learned) continue;
    RowToF32(impl_->weights.positions(), positions[i], position_row.data());
    AddTo(hidden, position_row.data(), d);
  }
}

void Engine::RunDepth(int depth, std::span<const RowSpan> rows, float* hidden,
                      const Tap& tap) const {
  const ModelConfig& config = impl_->config;
  if (depth < 0 || depth >= config.layers) {
    Fail("Engine::RunDepth", "depth " + std::to_string(depth),
         "0 to " + std::to_string(config.layers - 1));
  }
  const auto at = static_cast<size_t>(depth);
  std::map<KvCache*, int> lengths;  // after the step; all spans are checked before anything changes
  std::vector<LayerSpan> spans;
  for (const RowSpan& row : rows) {
    KvCache::State& state = *row.cache->state_;
    int& length = lengths.emplace(row.cache, state.lengths[at]).first->second;
    if (row.count < 0 || row.first_position < 0 || row.first_position > length ||
        row.count > state.capacity - row.first_position) {
      Fail("Engine::RunDepth",
           std::to_string(row.count) + " positions from " + std::to_string(row.first_position) +
               " on, after " + std::to_string(length) + " computed",
           "no gap, and at most the cache's capacity of " + std::to_string(state.capacity));
    }
    length = row.first_position + row.count;
    if (row.count > 0) spans.push_back({&state.depths[at], row.first_position, row.count});
  }
  for (const auto& [cache, length] : lengths) cache->state_->lengths[at] = length;
  if (spans.empty()) return;
  auto space = impl_->spaces.Take();
  RunLayer(
      {.config = config,
       .layer = impl_->weights.layer(depth),
       .depth = depth,
       .rope_frequencies = config.IsLocal(depth) ? impl_->local_frequencies : impl_->frequencies,
       .tap = tap,
       .space = *space,
       .pool = impl_->pool},
      spans, hidden);
}

void Engine::Head(const float* hidden, int64_t rows, float* logits) const {
  const ModelConfig& config = impl_->config;
  auto space = impl_->spaces.Take();
  float* normed = (*space).normed.Get(rows * config.d_model);
  RunNorm(config, impl_->weights.final_norm(), hidden, rows, config.d_model, normed, impl_->pool);
  RunLinear(impl_->weights.head(), normed, rows, logits, (*space).residual, impl_->pool);
  if (config.logit_softcap <= 0) return;
  ForRows(impl_->pool, rows, config.vocab, [&](int64_t r) {
    SoftCap(logits + r * config.vocab, config.logit_softcap, config.vocab);
  });
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
  const auto d = static_cast<size_t>(config.d_model), vocab = static_cast<size_t>(config.vocab);
  std::vector<float> logits(all_logits ? CheckedMul(tokens.size(), vocab) : vocab);
  std::vector<float> hidden(std::min(tokens.size(), kPrefillRows) * d);
  for (size_t done = 0; done < tokens.size(); done += kPrefillRows) {
    const size_t rows = std::min(kPrefillRows, tokens.size() - done);
    const RowSpan span{&cache, first + static_cast<int>(done), static_cast<int>(rows)};
    std::vector<int> positions(rows);
    std::iota(positions.begin(), positions.end(), span.first_position);
    Embed(tokens.subspan(done, rows), positions, hidden.data());
    for (int depth = 0; depth < config.layers; ++depth) {
      RunDepth(depth, {&span, 1}, hidden.data());
    }
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
    rows.push_back({cache, cache->length(), 1});
  }
  std::vector<float> hidden(tokens.size() * static_cast<size_t>(config.d_model));
  std::vector<float> logits(tokens.size() * static_cast<size_t>(config.vocab));
  Embed(tokens, positions, hidden.data());
  for (int depth = 0; depth < config.layers; ++depth) RunDepth(depth, rows, hidden.data());
  Head(hidden.data(), static_cast<int64_t>(tokens.size()), logits.data());
  return logits;
}

}  // namespace rondo
