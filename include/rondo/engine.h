// Runs a model, tied or not, on the CPU.
//
//   ThreadPool pool;
//   Engine engine(model, {}, pool);
//   KvCache cache = engine.NewCache(1024);
//   std::vector<float> logits = engine.Prefill(cache, tokens);   // logits of the last position
//
// An Engine is immutable after construction and may be used from several threads, each with caches
// of its own. The KV cache is indexed by depth, never by block: two depths that share a block have
// different keys and values. Results do not depend on how positions are grouped into steps: every
// row is computed by the same sequence of operations whatever its companions are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "rondo/model.h"

namespace rondo {

class ThreadPool;

struct EngineOptions {
  DType weights = DType::kF32;  // kF32 or kBF16: type of packed linears and cache; sums are f32
};

// Keys and values of one sequence, for every depth.
class KvCache {
 public:
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;
  ~KvCache();
  int length() const;  // positions computed at every depth
  int capacity() const;
  void Truncate(int length);  // forgets later positions

 private:
  friend class Engine;
  struct State;
  explicit KvCache(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Consecutive positions of one sequence inside a step.
struct RowSpan {
  KvCache* cache;
  int first_position;
  int count;
};

// The four places whose activations feed linears: q,k,v · o · gate,up · down.
enum class TapPoint { kAttnInput, kOInput, kFfnInput, kDownInput };
// Called with x [rows, width] as it enters the linears of a tap point.
using Tap =
    std::function<void(int depth, TapPoint point, const float* x, int64_t rows, int64_t width)>;

class Engine {
 public:
  Engine(const Model& model, const EngineOptions& options, ThreadPool& pool);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelConfig& config() const;
  // Bytes of weights held, each tensor counted once however many depths share it.
  uint64_t weight_bytes() const;
  // Room for `capacity` positions at every depth; memory is committed as positions are written.
  KvCache NewCache(int capacity) const;

  // hidden[i, d_model] = embedding of tokens[i] at positions[i]. Throws on a token outside the
  // vocabulary.
  void Embed(std::span<const int32_t> tokens, std::span<const int> positions, float* hidden) const;
  // One layer at `depth` over all rows, in place; writes their keys and values into the caches.
  void RunDepth(int depth, std::span<const RowSpan> rows, float* hidden, const Tap& tap = {}) const;
  // Final norm and head: logits[rows, vocab].
  void Head(const float* hidden, int64_t rows, float* logits) const;

  // Appends `tokens` to the sequence; returns the logits of the last one, or of all [tokens,
  // vocab].
  std::vector<float> Prefill(KvCache& cache, std::span<const int32_t> tokens,
                             bool all_logits = false) const;
  // One token for each of several sequences; returns [caches, vocab].
  std::vector<float> Decode(std::span<KvCache* const> caches,
                            std::span<const int32_t> tokens) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo
