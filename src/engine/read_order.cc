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
    Read(linear.weight, linear.weight->bytes());
    if (linear.residual != nullptr) Read(linear.residual, linear.residual->bytes());
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
    for (const LinearUse& linear : weights.layer(depth).linears) reader.Read(linear);
  }
  reader.Read(weights.head());
  return reader.Take();
}

}  // namespace rondo
