// Worked examples in front of a question.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "eval/python_random.h"
#include "eval/task_spec.h"

namespace rondo {

// Draws examples for one question after the other, as lm-evaluation-harness 0.4 does with its
// default sampler: what a question gets depends on the seed and on how many came before it.
class ShotSampler {
 public:
  // `pool` must outlive it. Throws when the pool is too small.
  ShotSampler(std::span<const TaskRecord> pool, int shots, uint32_t seed, bool draws_one_more);

  // Texts of the drawn examples, to stand before the context of `record`; empty without shots.
  std::string Draw(const TaskRecord& record);

 private:
  std::vector<const TaskRecord*> DrawOthers(const TaskRecord& record);

  std::span<const TaskRecord> pool_;
  uint64_t shots_;
  bool draws_one_more_;
  PythonRandom random_;
};

}  // namespace rondo
