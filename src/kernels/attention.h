// Attention of many query rows over cached keys and values, causal or over given keys. A row's
// result does not depend on which rows share its step.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kv_pages.h"

namespace rondo {

class ThreadPool;

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  float scale = 1;
  float softcap = 0;  // scores become softcap · tanh(score / softcap); 0: none
  int window = 0;     // keys a query sees, itself included; 0: all
};

// Keys and values, in f32, that every query sees besides its window.
struct AttentionPrefix {
  KvView kv;
  int count = 0;
};

// Positions [begin, end).
struct KeyRange {
  int64_t begin = 0, end = 0;
};

// `count` consecutive positions of one sequence; their keys and values are already stored.
struct AttentionSpan {
  AttentionShape shape;
  KvView kv;
  int first_position;
  int count;
  const float* q;  // [count, heads * head_dim]
  float* out;      // the same shape
  AttentionPrefix prefix = {};
  // What every query sees instead of the keys up to its own position: all positions of an encoder,
  // those of a chunk and its left context, an encoder's output. Empty: causal.
  KeyRange keys = {};
};

// out = softmax(scale · q·K) · V per head, over the prefix and each query's own keys.
void Attention(std::span<const AttentionSpan> spans, ThreadPool& pool);

}  // namespace rondo
