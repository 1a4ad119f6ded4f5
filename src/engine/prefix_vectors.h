// Prefix vectors of one depth: trained keys and values that all sequences share.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "rondo/model.h"

namespace rondo {

// Laid out as a page of keys and values, so that attention reads them with the same kernel; f32
// whatever the type of the cache. Movable: use() stays valid.
class PrefixVectors {
 public:
  // The tensors of `depth`; the plan has a prefix.
  PrefixVectors(const ModelConfig& config, const SharingPlan& plan, const Weights& weights,
                int depth);

  AttentionPrefix use() const { return {{layout_, pages_}, count_}; }
  uint64_t bytes() const { return memory_.bytes(); }

 private:
  KvLayout layout_;
  int count_;
  AlignedBuffer memory_;
  std::vector<std::byte*> pages_;
};

}  // namespace rondo
