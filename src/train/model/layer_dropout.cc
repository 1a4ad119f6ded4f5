#include "train/model/layer_dropout.h"

#include <cmath>
#include <numbers>

#include "base/rng.h"

namespace rondo {

double LayerDropoutRate(double largest, int depth, int layers) {
  if (layers < 2) return 0;
  return largest * std::expm1(depth * std::numbers::ln2 / (layers - 1));
}

std::vector<int64_t> LayerDropout::KeptRows(int depth, int layers, int64_t rows) const {
  const double rate = LayerDropoutRate(largest, depth, layers);
  const uint64_t hash =
      CombineHash(HashOfPass(key, RandomStream::kLayerDropout), static_cast<uint64_t>(depth));
  std::vector<int64_t> kept;
  for (int64_t row = 0; row < rows; ++row) {
    const auto in_batch = static_cast<uint64_t>(key.first_row + row);
    const bool drop = rate > 0 && Rng(CombineHash(hash, in_batch)).Uniform() < rate;
    if (!drop) kept.push_back(row);
  }
  return kept;
}

at::Tensor OnRows(const std::vector<int64_t>& kept, const at::Tensor& hidden,
                  const RowsShape& shape, const RowWork& work) {
  const auto count = static_cast<int64_t>(kept.size());
  if (count == 0) return hidden;
  if (count == shape.rows) return work(hidden, shape);
  const at::Tensor rows = at::tensor(kept, at::kLong), ids = rows.to(hidden.device());
  RowsShape part = shape;
  part.rows = count;
  if (shape.visible.defined()) part.visible = shape.visible.index_select(0, rows);
  const int64_t width = hidden.size(1);
  const at::Tensor all = hidden.view({shape.rows, shape.length, width});
  const at::Tensor done = work(all.index_select(0, ids).view({-1, width}), part);
  return all.index_copy(0, ids, done.view({count, shape.length, width})).view({-1, width});
}

}  // namespace rondo
