#include "kernels/kv_pages.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/checked.h"
#include "kernels/kv_names.h"
#include "kernels/panel.h"
#include "rondo/error.h"
#include "tensor/float_convert.h"

namespace rondo {
namespace {

uint64_t ElementBytes(KvType type) {
  switch (type) {
    case KvType::kF32:
      return 4;
    case KvType::kBF16:
      return 2;
    case KvType::kInt8:
      return 1;
  }
  return 0;
}

template <typename T>
T Element(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, Int8>) {
    return T{static_cast<int8_t>(std::lround(value))};
  } else {
    return T{BF16FromF32(value)};
  }
}

template <typename T>
void StoreHead(const KvLayout& layout, std::byte* head, int64_t slot, const float* key,
               const float* value, float key_factor, float value_factor) {
  const int64_t dim = layout.head_dim;
  T* keys = reinterpret_cast<T*>(head) + slot / kPanelWidth * dim * kPanelWidth;
  for (int64_t i = 0; i < dim; ++i) {
    keys[i * kPanelWidth + slot % kPanelWidth] = Element<T>(key[i] * key_factor);
  }
  T* values = reinterpret_cast<T*>(head + layout.values_offset());
  for (int64_t i = 0; i < dim; ++i) {
    values[(i / kPanelWidth * kPagePositions + slot) * kPanelWidth + i % kPanelWidth] =
        Element<T>(value[i] * value_factor);
  }
}

// The largest magnitude becomes 127.
float Int8Scale(const float* x, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest / 127;
}

void StoreHeadInt8(const KvLayout& layout, std::byte* head, int64_t slot, const float* key,
                   const float* value) {
  const float key_scale = Int8Scale(key, layout.head_dim);
  const float value_scale = Int8Scale(value, layout.head_dim);
  const auto inverse = [](float scale) { return scale > 0 ? 1 / scale : 0; };
  StoreHead<Int8>(layout, head, slot, key, value, inverse(key_scale), inverse(value_scale));
  auto* scales = reinterpret_cast<float*>(head + layout.scales_offset());
  scales[slot] = key_scale;
  scales[kPagePositions + slot] = value_scale;
}

// Moves element `slot` of every panel row of a head.
template <typename T>
void CopyHead(const KvLayout& layout, const std::byte* from, std::byte* to, int64_t slot) {
  const int64_t dim = layout.head_dim;
  const int64_t key = slot / kPanelWidth * dim * kPanelWidth + slot % kPanelWidth;
  for (int64_t i = 0; i < dim; ++i) {
    const int64_t at = key + i * kPanelWidth;
    reinterpret_cast<T*>(to)[at] = reinterpret_cast<const T*>(from)[at];
  }
  const auto* values = reinterpret_cast<const T*>(from + layout.values_offset());
  auto* target = reinterpret_cast<T*>(to + layout.values_offset());
  for (int64_t panel = 0; panel < PanelCount(dim); ++panel) {
    const int64_t at = (panel * kPagePositions + slot) * kPanelWidth;
    std::copy_n(values + at, kPanelWidth, target + at);
  }
  if (layout.type != KvType::kInt8) return;
  const auto* scales = reinterpret_cast<const float*>(from + layout.scales_offset());
  auto* target_scales = reinterpret_cast<float*>(to + layout.scales_offset());
  for (const int64_t at : {slot, kPagePositions + slot}) target_scales[at] = scales[at];
}

}  // namespace

std::string_view Name(KvType type) { return ChoiceName(type); }

KvType KvTypeFromName(std::string_view name) {
  return ChoiceFromName<KvType>(name, "KvTypeFromName");
}

uint64_t KvLayout::values_offset() const {
  return CheckedMul(CheckedMul(static_cast<uint64_t>(head_dim), uint64_t{kPagePositions}),
                    ElementBytes(type));
}

uint64_t KvLayout::scales_offset() const {
  const auto padded = static_cast<uint64_t>(PanelCount(head_dim)) * kPanelWidth;
  return CheckedAdd(values_offset(), CheckedMul(padded * kPagePositions, ElementBytes(type)));
}

uint64_t KvLayout::head_bytes() const {
  const uint64_t scales = type == KvType::kInt8 ? 2 * kPagePositions * sizeof(float) : 0;
  return CheckedAdd(scales_offset(), scales);
}

uint64_t KvLayout::depth_bytes() const {
  return CheckedMul(head_bytes(), static_cast<uint64_t>(kv_heads));
}

void StoreKv(const KvView& view, int position, const float* key, const float* value) {
  const KvLayout& layout = view.layout;
  const int64_t slot = position % kPagePositions;
  for (int h = 0; h < layout.kv_heads; ++h, key += layout.head_dim, value += layout.head_dim) {
    std::byte* head = view.Head(position / kPagePositions, h);
    switch (layout.type) {
      case KvType::kF32:
        StoreHead<float>(layout, head, slot, key, value, 1, 1);
        break;
      case KvType::kBF16:
        StoreHead<BFloat16>(layout, head, slot, key, value, 1, 1);
        break;
      case KvType::kInt8:
        StoreHeadInt8(layout, head, slot, key, value);
        break;
    }
  }
}

void CopyKv(const KvView& from, const KvView& to, int first, int count) {
  for (int position = first; position < first + count; ++position) {
    const int64_t page = position / kPagePositions, slot = position % kPagePositions;
    for (int h = 0; h < from.layout.kv_heads; ++h) {
      const std::byte* source = from.Head(page, h);
      std::byte* target = to.Head(page, h);
      switch (ElementBytes(from.layout.type)) {
        case 4:
          CopyHead<float>(from.layout, source, target, slot);
          break;
        case 2:
          CopyHead<BFloat16>(from.layout, source, target, slot);
          break;
        default:
          CopyHead<Int8>(from.layout, source, target, slot);
      }
    }
  }
}

}  // namespace rondo
