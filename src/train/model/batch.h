// The tokens of a forward pass.
#pragma once

#include <cstdint>
#include <vector>

#include "corpus/token_data.h"
#include "train/loss/head_loss.h"
#include "train/model/forward.h"

namespace rondo {

// Inputs and targets of a batch of rows of length + 1 tokens.
struct BatchTokens {
  std::vector<int32_t> inputs;   // [rows · length]
  std::vector<int32_t> targets;  // [rows · length]
  RowsShape shape;
  double with_target = 0;  // targets that cross-entropies are averaged over
  Targets AsTargets() const { return {targets, with_target}; }
};

// Rows [begin, end) of a batch. With `apart`, the first token of another document is nobody's
// target. Cross-entropies are averaged over the whole batch's targets, the same share for each row.
BatchTokens SplitBatch(const TokenBatch& batch, bool apart, int begin, int end);

}  // namespace rondo
