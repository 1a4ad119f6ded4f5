// One transformer layer over the rows of a step.
#pragma once

#include <span>

#include "engine/packed_model.h"
#include "engine/workspace.h"
#include "kernels/attention.h"
#include "rondo/engine.h"

namespace rondo {

class ThreadPool;

// Rows of one sequence, with the panels of the depth that runs.
struct LayerSpan {
  KvPanels* kv;
  int first_position;
  int count;
};

struct LayerContext {
  const ModelConfig& config;
  const LayerUse& layer;
  int depth;
  std::span<const float> rope_frequencies;  // empty with learned positions
  const Tap& tap;
  Workspace& space;
  ThreadPool& pool;
};

// hidden[rows, d_model] becomes the layer's output; keys and values go into the spans' panels.
void RunLayer(const LayerContext& context, std::span<const LayerSpan> spans, float* hidden);

// y[rows, out] = linear(x[rows, in]) with bias and the depth's residual.
void RunLinear(const LinearUse& linear, const float* x, int64_t rows, float* y,
               ScratchBuffer& scratch, ThreadPool& pool);

// y[rows, width] = norm(x); in place when y is x.
void RunNorm(const ModelConfig& config, const NormUse& norm, const float* x, int64_t rows,
             int64_t width, float* y, ThreadPool& pool);

AttentionShape ShapeOfAttention(const ModelConfig& config, bool local);

}  // namespace rondo
