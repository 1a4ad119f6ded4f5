// Dropout of whole depths, the deeper the more often (LayerSkip: Elhoushi et al., 2024, section
// 4.1): a sequence that skips a depth keeps its hidden state, so that the model learns to answer
// from earlier depths.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "train/model/forward.h"
#include "train/model/step_key.h"

namespace rondo {

// largest · (exp(depth · ln 2 / (layers − 1)) − 1): 0 at the first depth, `largest` at the last.
double LayerDropoutRate(double largest, int depth, int layers);

struct LayerDropout {
  double largest = 0;  // 0: none
  StepKey key;

  // The rows of a batch, in order, that go through a depth.
  std::vector<int64_t> KeptRows(int depth, int layers, int64_t rows) const;
};

// hidden[tokens, d_model] with `work` done on the kept rows of its batch alone; the others stay as
// they are. Rows are not scaled: nothing is dropped when the model is used, and residual streams of
// any number of depths are what it has learnt to read.
using RowWork = std::function<at::Tensor(const at::Tensor& hidden, const RowsShape& shape)>;
at::Tensor OnRows(const std::vector<int64_t>& kept, const at::Tensor& hidden,
                  const RowsShape& shape, const RowWork& work);

}  // namespace rondo
