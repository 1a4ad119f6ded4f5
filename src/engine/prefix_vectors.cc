#include "engine/prefix_vectors.h"

#include "base/checked.h"

namespace rondo {

PrefixVectors::PrefixVectors(const ModelConfig& config, const SharingPlan& plan,
                             const Weights& weights, int depth)
    : layout_{.kv_heads = config.kv_heads, .head_dim = config.head_dim, .type = KvType::kF32},
      count_(plan.prefix) {
  const auto pages = static_cast<uint64_t>(PagesFor(count_));
  memory_ = AlignedBuffer(CheckedMul(layout_.depth_bytes(), pages));
  for (uint64_t page = 0; page < pages; ++page) {
    pages_.push_back(memory_.as<std::byte>() + page * layout_.depth_bytes());
  }
  const std::vector<float> keys = ToF32(weights.Get(PrefixTensor(depth, "k")));
  const std::vector<float> values = ToF32(weights.Get(PrefixTensor(depth, "v")));
  const int width = layout_.kv_heads * layout_.head_dim;
  for (int i = 0; i < count_; ++i) {
    StoreKv(use().kv, i, keys.data() + i * width, values.data() + i * width);
  }
}

}  // namespace rondo
