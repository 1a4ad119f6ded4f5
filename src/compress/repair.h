// Repair in closed form: what a changed model's linears should be so that its residual stream stays
// the original's, on the inputs that the changed model really gets.
#pragma once

#include <cstdint>
#include <span>

#include "compress/state.h"
#include "rondo/thread_pool.h"

namespace rondo {

struct RepairOptions {
  int context = 512;           // tokens of one sequence
  int64_t max_tokens = 16384;  // spread evenly over the text; 0: all of it
  double damping = 1e-3;       // ridge on moments, as a share of their mean diagonal
  double shrinkage = 0.5;  // ridge of the regressions, inputs / tokens times each input's energy
};

// Gone depths come back as one more pass through the linears of the depth before them, with norms
// of their own (the original's) and a gain on each output of o and down (of Gemma's kind: in the
// norm behind the branch) that is the least-squares one towards the original's stream. No bytes but
// the norms and gains. `originals`: which of state.model.plan.gone come back, ascending.
State AddReturns(const Model& original, const State& state, std::span<const int> originals,
                 std::span<const int32_t> tokens, const RepairOptions& options, ThreadPool& pool);

// Runs original and changed model side by side from depth to depth. At every depth the linears that
// no earlier depth uses become the least-squares maps from what the changed model feeds them to
// what the original had; o and down also make good the error that stands in the stream, so that a
// depth takes over what it can of the gone ones before it. Memory: a few activations of every token
// and one depth of either model.
State Repair(const Model& original, const State& state, std::span<const int32_t> tokens,
             const RepairOptions& options, ThreadPool& pool, bool quiet = true);

}  // namespace rondo
