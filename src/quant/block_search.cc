#include "quant/block_search.h"

#include <algorithm>
#include <utility>

namespace rondo {

void BlockSearch::SetFactor(const MatrixF32& factor, int64_t first) {
  factor_ = &factor;
  first_ = first;
  for (int i = 0; i < length_; ++i) {
    const float diagonal = factor(first + i, first + i);
    importance_[static_cast<size_t>(i)] = 1 / (diagonal * diagonal);
  }
}

bool BlockSearch::Run(const float* x, float limit) {
  best_.loss = limit;
  bool found = false;
  for (const BlockGrid& grid : CandidateGrids(dtype_, x, importance_.data())) {
    Try(grid, x);
    if (!(trial_.loss < best_.loss)) continue;
    std::swap(best_, trial_);
    best_.grid = grid;
    found = true;
  }
  return found;
}

// Gives up once it is worse than the best so far.
void BlockSearch::Try(const BlockGrid& grid, const float* x) {
  std::array<float, kMaxBlockLength> rest;
  std::copy(x, x + length_, rest.begin());
  float loss = 0;
  for (int i = 0; i < length_ && loss < best_.loss; ++i) {
    const auto at = static_cast<size_t>(i);
    const float* row = factor_->row(first_ + i) + first_;
    const int code = grid.Nearest(i, rest[at]);
    const float error = (rest[at] - grid.Value(i, code)) / row[i];
    trial_.codes[at] = static_cast<int16_t>(code);
    trial_.errors[at] = error;
    loss += error * error;
    for (int j = i + 1; j < length_; ++j) rest[static_cast<size_t>(j)] -= error * row[j];
  }
  trial_.loss = loss;
}

}  // namespace rondo
