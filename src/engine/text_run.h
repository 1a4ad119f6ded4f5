// The rows of a whole text on their way through the depths, one depth after the other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/engine.h"

namespace rondo {

class TextRun {
 public:
  // For texts of up to `context` tokens.
  TextRun(const Engine& engine, int context) : engine_(&engine), cache_(engine.NewCache(context)) {}

  // Embeds `tokens` at positions 0, 1, …, forgetting the text before.
  void Start(std::span<const int32_t> tokens);
  // All rows through one depth, whose keys and values are kept.
  void RunDepth(int depth) { RunDepth(depth, hidden_); }
  // The same for other rows [tokens, d_model] in their place.
  void RunDepth(int depth, std::vector<float>& hidden);
  // Logits of `count` of these rows from `first` on, [count, vocab].
  void Head(const std::vector<float>& hidden, size_t first, size_t count, float* logits) const;

  const Engine& engine() const { return *engine_; }
  size_t rows() const { return rows_; }
  const std::vector<float>& hidden() const { return hidden_; }  // [rows, d_model]
  std::span<const float> row(size_t i) const { return RowOf(hidden_, i); }
  std::span<const float> RowOf(const std::vector<float>& hidden, size_t i) const;

 private:
  const Engine* engine_;
  KvCache cache_;
  std::vector<float> hidden_;
  size_t rows_ = 0;
};

}  // namespace rondo
