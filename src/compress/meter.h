// What a change costs: the divergence of a changed model from the original on a text.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "compress/state.h"
#include "fold/calibrate_layer.h"
#include "fold/linalg.h"
#include "kernels/matmul.h"

namespace rondo {

struct MeterValue {
  double kl = 0;   // mean KL(original ‖ changed), nats a token
  double nll = 0;  // mean negative log-likelihood of the text, nats a token
};

// Runs the original once. A change is measured from the first depth that it touches: the hidden
// states of a base state are kept. Not for several threads at once.
class Meter {
 public:
  Meter(const Model& original, std::span<const int32_t> tokens, int context, ThreadPool& pool);
  ~Meter();

  // Makes `state` the one from which changes are measured.
  MeterValue SetBase(const State& state);
  MeterValue Measure(const State& state);

  // What enters the linears at a tap point of a depth of the base state, [rows, width].
  std::vector<float> Inputs(const State& base, int depth, TapPoint point);
  int64_t rows() const { return runner_.rows(); }
  // How often each token of the vocabulary stands in the text.
  std::vector<int64_t> TokenCounts() const;
  ThreadPool& pool() const { return pool_; }

 private:
  using Key = std::vector<std::pair<const void*, int>>;  // storage and type of tensors
  struct Layer;
  struct Head;

  Key KeyOfDepth(const State& state, int depth) const;
  const Layer& LayerOf(const State& state, int depth, const Key& key);
  const Head& HeadOf(const State& state);
  Tensor Rounded(const State& state, const std::string& name) const;
  // Embedding or head as it will be stored: with error feedback where it is the head.
  Tensor RoundedVocabulary(const State& state, const std::string& name);
  MeterValue Compare(const State& state, const std::vector<float>& hidden);
  void MeasureHead(const Head& head, const std::vector<float>& hidden);
  std::vector<float> Normed(const Head& head, const float* hidden, int64_t rows) const;
  std::vector<float> Logits(const State& state, const Head& head, const float* hidden,
                            int64_t rows) const;
  void Forget(const std::vector<Key>& kept);

  ThreadPool& pool_;
  ModelConfig config_;  // of the original
  LayerRunner runner_;
  std::vector<int32_t> tokens_;
  int context_;
  std::vector<float> log_probabilities_;                    // of the original, [rows, vocab]
  MatrixF64 head_moment_;                                   // of what enters the original's head
  std::map<Key, std::pair<Tensor, Tensor>> rounded_heads_;  // beside what they were rounded from
  std::map<Key, std::unique_ptr<Layer>> layers_;
  std::map<Key, std::unique_ptr<Head>> heads_;
  std::vector<Key> base_keys_;                   // of embedding, then of every depth
  std::vector<std::vector<float>> base_hidden_;  // as it enters every depth
};

}  // namespace rondo
