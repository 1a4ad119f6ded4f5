// How alike layers are and what sharing them would cost, measured on text.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "fold/calibrate_layer.h"
#include "rondo/engine.h"
#include "rondo/model.h"

namespace rondo {

// Runs a plain model with some layers replaced and compares its predictions with its own.
class TieProbe {
 public:
  // On one sequence: the first `most` of `tokens`, or as many as there are or the model has
  // positions for.
  TieProbe(const Model& model, const Engine& engine, std::span<const int32_t> tokens, int64_t most,
           ThreadPool& pool);

  // [depths, depths] linear CKA (Kornblith et al., "Similarity of Neural Network Representations
  // Revisited", ICML 2019) between what the layers add to the residual stream.
  std::vector<double> Similarity() const;
  // Mean KL(original ‖ changed) in nats per token with other layers at some depths.
  double Loss(const std::map<int, const DenseLayer*>& layers);

 private:
  void RunDepth(int depth, std::vector<float>& hidden);
  // Mean KL of the hidden rows that leave the last layer.
  double Divergence(const std::vector<float>& hidden) const;

  const Engine& engine_;
  ThreadPool& pool_;
  int depths_, width_, vocab_;
  LayerRunner runner_;
  KvCache cache_;
  RowSpan rows_;
  std::vector<std::vector<float>> inputs_;  // [depths + 1] residual stream before each depth
  std::vector<float> log_probs_;            // [rows, vocab] of the original
};

}  // namespace rondo
