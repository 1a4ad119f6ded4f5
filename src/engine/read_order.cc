#include "engine/read_order.h"

#include <map>

namespace rondo {
namespace {

// Numbers the weights in order of first use.
class Reader {
 public:
  void Read(const void* weight, uint64_t bytes) {
    const auto next = static_cast<int>(numbers_.size());
    reads_.push_back({numbers_.emplace(weight, next).first->second, bytes});
  }
  void Read(const LinearUse& linear) {
    if (linear.weight == nullptr) return;
    if (linear.first != nullptr) Read(linear.first, linear.first->bytes());
    Read(linear.weight, linear.weight->bytes());
    if (linear.residual != nullptr) Read(linear.residual, linear.residual->bytes());
  }
  void Read(const AttentionPrefix& prefix) {
    const KvLayout& layout = prefix.kv.layout;
    const int64_t row = int64_t{layout.kv_heads} * layout.head_dim;
    Read(prefix.kv.pages[0], static_cast<uint64_t>(2 * prefix.count * row) * sizeof(float));
  }
  std::vector<WeightRead> Take() { return std::move(reads_); }

 private:
  std::map<const void*, int> numbers_;
  std::vector<WeightRead> reads_;
};

}  // namespace

std::vector<WeightRead> ReadOrder(const PackedModel& weights, int depths) {
  Reader reader;
  for (int depth = 0; depth < depths; ++depth) {
    const LayerUse& layer = weights.layer(depth);
    if (layer.patch != nullptr) reader.Read(layer.patch, layer.patch->bytes());
    for (const LinearUse& linear : layer.linears) reader.Read(linear);
    if (layer.prefix.count > 0) reader.Read(layer.prefix);
  }
  reader.Read(weights.head());
  return reader.Take();
}

}  // namespace rondo
