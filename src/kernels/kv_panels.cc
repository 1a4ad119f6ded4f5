#include <string>

#include "base/checked.h"
#include "kernels/attention.h"
#include "kernels/panel.h"
#include "rondo/error.h"
#include "tensor/float_convert.h"

namespace rondo {
namespace {

uint64_t PanelBytes(DType type, int64_t heads, int64_t rows, int64_t panels) {
  return StorageBytes(type, {heads, panels, rows, kPanelWidth});
}

// Element of a panel [row][lane].
template <typename T>
void Put(T* panel, int64_t row, int64_t lane, float value) {
  if constexpr (std::is_same_v<T, float>) {
    panel[row * kPanelWidth + lane] = value;
  } else {
    panel[row * kPanelWidth + lane] = T{BF16FromF32(value)};
  }
}

template <typename T>
void StoreHead(T* keys, T* values, int64_t position, int64_t capacity, int64_t head_dim,
               const float* key, const float* value) {
  T* key_panel = keys + position / kPanelWidth * head_dim * kPanelWidth;
  for (int64_t i = 0; i < head_dim; ++i) Put(key_panel, i, position % kPanelWidth, key[i]);
  for (int64_t i = 0; i < head_dim; ++i) {
    T* value_panel = values + i / kPanelWidth * capacity * kPanelWidth;
    Put(value_panel, position, i % kPanelWidth, value[i]);
  }
}

}  // namespace

KvPanels::KvPanels(const AttentionShape& shape, int capacity, DType type)
    : kv_heads_(shape.kv_heads),
      head_dim_(shape.head_dim),
      capacity_(PanelCount(capacity) * kPanelWidth),
      type_(type),
      keys_(PanelBytes(type, kv_heads_, head_dim_, capacity_ / kPanelWidth)),
      values_(PanelBytes(type, kv_heads_, capacity_, PanelCount(head_dim_))) {}

uint64_t KvPanels::BytesFor(const AttentionShape& shape, int capacity, DType type) {
  const int64_t padded = PanelCount(capacity) * kPanelWidth;
  return CheckedAdd(PanelBytes(type, shape.kv_heads, shape.head_dim, padded / kPanelWidth),
                    PanelBytes(type, shape.kv_heads, padded, PanelCount(shape.head_dim)));
}

const void* KvPanels::Keys(int kv_head) const {
  return keys_.as<std::byte>() +
         keys_.bytes() / static_cast<uint64_t>(kv_heads_) * static_cast<uint64_t>(kv_head);
}

const void* KvPanels::Values(int kv_head) const {
  return values_.as<std::byte>() +
         values_.bytes() / static_cast<uint64_t>(kv_heads_) * static_cast<uint64_t>(kv_head);
}

void KvPanels::Store(int position, const float* key, const float* value) {
  for (int h = 0; h < kv_heads_; ++h, key += head_dim_, value += head_dim_) {
    void* keys = const_cast<void*>(Keys(h));
    void* values = const_cast<void*>(Values(h));
    if (type_ == DType::kF32) {
      StoreHead(static_cast<float*>(keys), static_cast<float*>(values), position, capacity_,
                head_dim_, key, value);
    } else {
      StoreHead(static_cast<BFloat16*>(keys), static_cast<BFloat16*>(values), position, capacity_,
                head_dim_, key, value);
    }
  }
}

}  // namespace rondo
