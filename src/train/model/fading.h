// Gradual folding: what a fold lacks of the teacher's matrices is added to it at first, so that the
// student begins as the teacher, and taken away while it learns.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "rondo/model.h"
#include "train/model/merge.h"
#include "train/model/teacher.h"

namespace rondo {

enum class FadeBy {
  kScale,  // the whole rest shrinks
  kRank,   // its smallest singular directions go first, until none is left
};

// The rest of a stage, and how much of it is there.
class Fading {
 public:
  Fading(FadingRest rest, FadeBy by);
  // Shares [depths] in [0, 1]: of its length, or of its rank (rounded up).
  void Set(const std::vector<double>& shares);
  void End() { Set(std::vector<double>(shares_.size(), 0.0)); }
  bool ended() const;
  const std::vector<double>& shares() const { return shares_; }
  const FadingRest& rest() const { return rest_; }

 private:
  struct Factors {
    at::Tensor scaled_u, v;  // [out, k] times the singular values, [k, in]
    int64_t kept;
  };
  using Key = std::pair<int, Module>;
  void Keep(const Key& key, Factors& factors, int64_t count);

  FadingRest rest_;
  FadeBy by_;
  std::vector<double> shares_;
  std::map<Key, Factors> factors_;  // kRank
};

// rest = W_teacher − (S + R) of `start`, for every linear of every depth; weights all 1. Exact
// where the student's norms and biases are the teacher's. Throws when the shapes differ.
FadingRest MakeFadingRest(const Model& start, const Teacher& teacher);

// [depths] numbers from 0 of depths that share their blocks, in order of first depth.
std::vector<int> TiedGroups(const SharingPlan& plan);

}  // namespace rondo
