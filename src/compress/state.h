// What the planner changes: a model, the types its tensors are to be stored in, and which depth of
// the original each of its depths stands for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/export.h"
#include "rondo/model.h"

namespace rondo {

struct State {
  Model model;              // unrounded
  TensorTypes types;        // of every tensor
  std::vector<int> origin;  // [depths] of the model, ascending
};

// Nothing changed: matrices as `type` (rows that its blocks do not divide as f16), vectors as f32.
State InitialState(const Model& model, DType type);

// Bytes of all tensors as they are to be stored.
uint64_t StoredTensorBytes(const State& state);
// Bytes that one token reads: a block as often as depths use it, the head, a row of the embedding.
uint64_t TokenBytes(const State& state);

// The state whose depth i is the old depth depths[i]. A depth that is named again is one more pass
// through the same linears with norms of its own. Blocks that nobody uses any more go.
State SelectDepths(const State& state, std::span<const int> depths);

}  // namespace rondo
