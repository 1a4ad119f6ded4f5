// One pass through a set of shared linears: the rows of a step, each at its own depth.
#pragma once

#include <span>

#include "engine/packed_model.h"
#include "engine/workspace.h"
#include "kernels/attention.h"
#include "rondo/engine.h"

namespace rondo {

class ThreadPool;

// An encoder's output as a decoder's depth attends to it: see FillMemory.
struct MemoryView {
  KvView kv;
  int length = 0;
  float* queries = nullptr;  // [count, heads · head_dim] what attended to it is copied here
};

// Rows of one sequence at one depth. The pages are writable for these positions.
struct LayerSpan {
  const LayerUse* layer;
  int depth;
  KvView kv;
  int first_position;
  int count;
  // Positions that the whole text is known to have; 0: those up to each row.
  int text_length = 0;
  // Speech models. What all rows see instead of the keys up to their own (attention.h): all keys of
  // the spans of a call are stored before the first of them attends.
  KeyRange keys = {};
  // Position 0 of the pages is this one of the sequence; a multiple of kPagePositions.
  int first_stored = 0;
  MemoryView memory = {};
  // [conv_kernel − 1, d_model] what the Conformer's depthwise convolution saw before these rows, at
  // first zeros; moved on by the call. Spans of one sequence share it and come in order.
  float* conv_history = nullptr;
};

struct LayerContext {
  const ModelConfig& config;
  const Rope& rope;  // empty with learned positions
  const Rope& local_rope;
  const Tap& tap;
  Workspace& space;
  ThreadPool& pool;
};

// hidden[rows, d_model] becomes the layers' output; keys and values go into the spans' pages. All
// spans use the same shared linears.
void RunLayer(const LayerContext& context, std::span<const LayerSpan> spans, float* hidden);

// Writes the keys and values of cross-attention for memory[rows, d_model] into pages from position
// 0 on; of the span, `layer`, `kv` and `count` matter.
void FillMemory(const LayerContext& context, const LayerSpan& span, const float* memory);

// Writes only the keys and values of hidden[rows, d_model].
void FillKv(const LayerContext& context, std::span<const LayerSpan> spans, const float* hidden);

// y[rows, out] = linear(x[rows, in]) with its bias; for linears without a residual and a gain.
// `between` is used where the linear has two factors.
void RunLinear(const LinearUse& linear, const float* x, int64_t rows, float* y, ThreadPool& pool,
               ScratchBuffer* between = nullptr);

// y[rows, width] = norm(x); in place when y is x.
void RunNorm(const ModelConfig& config, const NormUse& norm, const float* x, int64_t rows,
             int64_t width, float* y, ThreadPool& pool);

AttentionShape ShapeOfAttention(const ModelConfig& config, bool local);
KvLayout LayoutOfKv(const ModelConfig& config, KvType type);

}  // namespace rondo
