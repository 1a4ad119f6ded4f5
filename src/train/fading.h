// Gradual folding: what a fold lacks of the teacher's matrices is added to it at first, so that the
// student begins as the teacher, and taken away while it learns.
#pragma once

#include <vector>

#include "rondo/model.h"
#include "train/merge.h"
#include "train/teacher.h"

namespace rondo {

// rest = W_teacher − (S + R) of `start`, for every linear of every depth; weights all 1. Exact
// where the student's norms and biases are the teacher's. Throws when the shapes differ.
FadingRest MakeFadingRest(const Model& start, const Teacher& teacher);

// [depths] numbers from 0 of depths that share their blocks, in order of first depth.
std::vector<int> TiedGroups(const SharingPlan& plan);

}  // namespace rondo
