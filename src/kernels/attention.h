// Causal attention of many query rows over cached keys and values.
//
// Keys and values rest in panels so that both products run on the tile kernel of MatMul:
//   keys   [kv_heads][capacity/16][head_dim][16 positions]
//   values [kv_heads][head_dim/16][capacity][16 elements]
// with capacity a multiple of 16. A row's result does not depend on which rows share its step.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "rondo/tensor.h"

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

// Keys and values of one sequence at one depth.
class KvPanels {
 public:
  // `type` is kF32 or kBF16. Throws when the size overflows or memory is short.
  KvPanels(const AttentionShape& shape, int capacity, DType type);
  // Bytes that such panels take; throws when the size overflows.
  static uint64_t BytesFor(const AttentionShape& shape, int capacity, DType type);
  // Stores key and value [kv_heads, head_dim] of a position below the capacity.
  void Store(int position, const float* key, const float* value);
  DType type() const { return type_; }
  int64_t capacity() const { return capacity_; }
  // First panel of a head.
  const void* Keys(int kv_head) const;
  const void* Values(int kv_head) const;

 private:
  int kv_heads_;
  int head_dim_;
  int64_t capacity_;
  DType type_;
  AlignedBuffer keys_;
  AlignedBuffer values_;
};

// `count` consecutive positions of one sequence; their keys and values are already stored.
struct AttentionSpan {
  const KvPanels* kv;
  int first_position;
  int count;
  const float* q;  // [count, heads * head_dim]
  float* out;      // the same shape
};

// out = softmax(scale · q·K) · V per head, over each query's own window.
void Attention(const AttentionShape& shape, std::span<const AttentionSpan> spans, ThreadPool& pool);

}  // namespace rondo
