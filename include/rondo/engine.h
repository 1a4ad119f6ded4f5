// Runs a model, tied or not, on the CPU.
//
//   ThreadPool pool;
//   Engine engine(model, {}, pool);
//   KvCache cache = engine.NewCache(1024);
//   std::vector<float> logits = engine.Prefill(cache, tokens);   // logits of the last position
//
// An Engine is immutable after construction and may be used from several threads, each with caches
// of its own. The KV cache is indexed by depth, never by block: two depths that share a block have
// different keys and values. Results do not depend on how positions are grouped into steps, nor on
// which depths share one: every row is computed by the same sequence of operations whatever its
// companions are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rondo/kv_type.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

struct EngineOptions {
  // Type of the packed linears; unset: each tensor's own type in the file (f16 becomes f32). Sums
  // are f32; with quantised weights the activations are rounded to 8 bits, 32 at a time. Matrices
  // whose rows do not divide into blocks stay bf16.
  std::optional<DType> weights = DType::kF32;
  std::optional<KvType> kv = {};  // of the cache; unset: f32 beside an f32 head, else bf16
};

// Keys and values of one sequence, for every depth. Positions lie in pages of 64 that several
// caches may share.
class KvCache {
 public:
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;
  ~KvCache();
  int length() const;           // positions computed at every depth
  int length(int depth) const;  // positions computed at this depth
  int capacity() const;
  int pages() const;          // of 64 positions, shared ones included
  void Truncate(int length);  // forgets later positions
  // Says before the first position how long the text will be, at least. Matters only to models
  // whose rotary frequencies depend on it (RopeScaling::DependsOnLength); Engine::Prefill does it.
  void ExpectLength(int length);
  // Another sequence with the same first positions. Pages are shared until either writes to them.
  KvCache Fork(int length) const;
  // Depth `to` takes over what depth `from` holds for positions [first, first + count).
  void CopyDepth(int from, int to, int first, int count);

 private:
  friend class Engine;
  friend class KvPool;
  struct State;
  explicit KvCache(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Bounded memory for the caches of many sequences. Pages are committed as they are first written;
// a step that needs one more than there are throws.
class KvPool {
 public:
  KvPool(KvPool&&) noexcept;
  KvPool& operator=(KvPool&&) noexcept;
  ~KvPool();
  KvCache NewCache(int capacity) const;
  int64_t positions() const;
  int64_t free_positions() const;  // in whole pages
  uint64_t bytes_per_position() const;

 private:
  friend class Engine;
  struct State;
  explicit KvPool(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Consecutive positions of one sequence at one depth inside a step.
struct RowSpan {
  KvCache* cache = nullptr;
  int depth = 0;
  int first_position = 0;
  int count = 0;
};

// The four places whose activations feed linears: q,k,v · o · gate,up · down.
enum class TapPoint { kAttnInput, kOInput, kFfnInput, kDownInput };
// Called with x [rows, width] as it enters the linears of a tap point, once for each run of rows of
// the same depth.
using Tap =
    std::function<void(int depth, TapPoint point, const float* x, int64_t rows, int64_t width)>;

// One matrix, or the factors of one residual, that a step reads.
struct WeightRead {
  int tensor = 0;  // the same number means the same memory
  uint64_t bytes = 0;
};

class Engine {
 public:
  Engine(const Model& model, const EngineOptions& options, ThreadPool& pool);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelConfig& config() const;
  const LoopShape& loops() const;  // of the model's plan
  // Bytes of weights held, each tensor counted once however many depths share it.
  uint64_t weight_bytes() const;
  // What one step over any rows reads, in order: the linears of every depth, then the head. Norms,
  // biases and the rows of the embedding are left out, being thousands of times smaller.
  std::vector<WeightRead> ReadOrder() const;
  // A cache with a pool of its own; memory is committed as positions are written.
  KvCache NewCache(int capacity) const;
  // Room for at least `positions` in all caches together. Throws when that exceeds the machine's
  // memory.
  KvPool NewPool(int64_t positions) const;

  // hidden[i, d_model] = embedding of tokens[i] at positions[i]. Throws on a token outside the
  // vocabulary.
  void Embed(std::span<const int32_t> tokens, std::span<const int> positions, float* hidden) const;
  // Every row passes through the layer at its span's depth, in place; keys and values go into the
  // caches. All depths must use the same blocks: their weights are read once for all rows, while
  // residuals, norms and biases are each depth's own.
  void RunLayer(std::span<const RowSpan> spans, float* hidden, const Tap& tap = {}) const;
  // Writes only keys and values of hidden rows at their depths; hidden stays as it is.
  void FillKv(std::span<const RowSpan> spans, const float* hidden) const;
  // Final norm and head: logits[rows, vocab].
  void Head(const float* hidden, int64_t rows, float* logits) const;
  bool has_exit_gate() const;  // in the model's plan
  // Probability, by the model's learned gate, that a row [d_model] may leave after `loops_run`
  // loops: sigmoid(weight · hidden / rms(hidden) + bias). Throws when there is no such gate.
  double ExitGate(int loops_run, std::span<const float> hidden) const;

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
