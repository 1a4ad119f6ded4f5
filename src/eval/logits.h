// Logits of a window a few rows at a time, so that memory does not grow with context × vocabulary.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "rondo/engine.h"

namespace rondo {

inline constexpr int kLogitRows = 128;  // rows per step: 25 MB of logits at a vocabulary of 49152

// Appends `ids` to the cache and calls visit(position within ids, logits [vocab]) for each, in
// order.
void ForEachLogits(const Engine& engine, KvCache& cache, std::span<const int32_t> ids,
                   const std::function<void(int64_t, std::span<const float>)>& visit);

}  // namespace rondo
