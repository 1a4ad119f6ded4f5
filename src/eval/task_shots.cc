#include "eval/task_shots.h"

#include <algorithm>
#include <string>

#include "rondo/error.h"

namespace rondo {

ShotSampler::ShotSampler(std::span<const TaskRecord> pool, int shots, uint32_t seed,
                         bool draws_one_more)
    : pool_(pool),
      shots_(static_cast<uint64_t>(shots)),
      draws_one_more_(draws_one_more),
      random_(seed) {
  const uint64_t needed = shots_ == 0 ? 0 : shots_ + (draws_one_more_ ? 1 : 0);
  if (needed <= pool_.size()) return;
  throw Error({.function = "ShotSampler",
               .problem = std::to_string(pool_.size()) + " records to draw from",
               .expected = "at least " + std::to_string(needed),
               .file = {},
               .field = "shots"});
}

std::vector<const TaskRecord*> ShotSampler::DrawOthers(const TaskRecord& record) {
  const auto other = [&](const TaskRecord& one) { return one.identity != record.identity; };
  std::vector<const TaskRecord*> drawn;
  for (const uint64_t i : random_.Sample(pool_.size(), shots_ + 1)) {
    if (drawn.size() < shots_ && other(pool_[i])) drawn.push_back(&pool_[i]);
  }
  if (drawn.size() == shots_) return drawn;
  // The record stands in the pool more than once, and more than one copy was drawn.
  std::vector<const TaskRecord*> others;
  for (const TaskRecord& one : pool_) {
    if (other(one)) others.push_back(&one);
  }
  drawn.clear();
  for (const uint64_t i : random_.Sample(others.size(), shots_)) drawn.push_back(others[i]);
  return drawn;
}

std::string ShotSampler::Draw(const TaskRecord& record) {
  std::string text;
  if (shots_ == 0) return text;
  if (draws_one_more_) {
    for (const TaskRecord* shot : DrawOthers(record)) text += shot->shot;
  } else {
    for (const uint64_t i : random_.Sample(pool_.size(), shots_)) text += pool_[i].shot;
  }
  return text;
}

}  // namespace rondo
