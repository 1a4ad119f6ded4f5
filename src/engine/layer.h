// One pass through a set of shared linears: the rows of a step, each at its own depth.
#pragma once

#include <span>

#include "engine/packed_model.h"
#include "engine/workspace.h"
#include "kernels/attention.h"
#include "rondo/engine.h"

namespace rondo {

class ThreadPool;

// Rows of one sequence at one depth. The pages are writable for these positions.
struct LayerSpan {
  const LayerUse* layer;
  int depth;
  KvView kv;
  int first_position;
  int count;
};

struct LayerContext {
  const ModelConfig& config;
  std::span<const float> rope_frequencies;  // empty with learned positions
  std::span<const float> local_rope_frequencies;
  const Tap& tap;
  Workspace& space;
  ThreadPool& pool;
};

// hidden[rows, d_model] becomes the layers' output; keys and values go into the spans' pages. All
// spans use the same shared linears.
void RunLayer(const LayerContext& context, std::span<const LayerSpan> spans, float* hidden);

// Writes only the keys and values of hidden[rows, d_model].
void FillKv(const LayerContext& context, std::span<const LayerSpan> spans, const float* hidden);

// y[rows, out] = linear(x[rows, in]) with its bias; for linears without a residual.
void RunLinear(const LinearUse& linear, const float* x, int64_t rows, float* y, ThreadPool& pool);

// y[rows, width] = norm(x); in place when y is x.
void RunNorm(const ModelConfig& config, const NormUse& norm, const float* x, int64_t rows,
             int64_t width, float* y, ThreadPool& pool);

AttentionShape ShapeOfAttention(const ModelConfig& config, bool local);
KvLayout LayoutOfKv(const ModelConfig& config, KvType type);

}  // namespace rondo
