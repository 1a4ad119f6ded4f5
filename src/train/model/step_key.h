// Where a forward pass stands in a run. Random choices of a step are functions of it alone: a step
// that is done again, after a resumption or to recompute activations, makes them again.
#pragma once

#include <cstdint>

#include "base/hash.h"

namespace rondo {

struct StepKey {
  uint64_t seed = 0;  // of the run
  int64_t step = 0;   // optimiser steps of the run before this one
  int micro = 0;      // forward pass of the step, from 0
  int first_row = 0;  // in the batch, of the rows at hand
};

// What a step draws random numbers for; no two streams share any.
enum class RandomStream : uint64_t {
  kLayerDropout = 1,
  kMixture = 2,
  kDropout = 3,
  kChunk = 4,
  kMasks = 5,
  kWidth = 6,
};

// Every forward pass of a step draws alike.
inline uint64_t HashOfStep(const StepKey& key, RandomStream stream) {
  const uint64_t run = CombineHash(CombineHash(0, static_cast<uint64_t>(stream)), key.seed);
  return CombineHash(run, static_cast<uint64_t>(key.step));
}

// Every forward pass draws for itself.
inline uint64_t HashOfPass(const StepKey& key, RandomStream stream) {
  return CombineHash(HashOfStep(key, stream), static_cast<uint64_t>(key.micro));
}

}  // namespace rondo
