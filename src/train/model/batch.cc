#include "train/model/batch.h"

#include <algorithm>

namespace rondo {

BatchTokens SplitBatch(const TokenBatch& batch, bool apart, int begin, int end) {
  BatchTokens out;
  std::vector<int32_t> document;
  const auto length = static_cast<size_t>(batch.length);
  int64_t targets = 0;
  for (int row = 0; row < batch.rows; ++row) {
    const bool mine = row >= begin && row < end;
    const size_t first = static_cast<size_t>(row) * (length + 1);
    for (size_t i = first; i < first + length; ++i) {
      const bool border = apart && batch.document[i] != batch.document[i + 1];
      targets += !border;
      if (!mine) continue;
      out.inputs.push_back(batch.tokens[i]);
      out.targets.push_back(border ? -1 : batch.tokens[i + 1]);
      if (apart) document.push_back(batch.document[i]);
    }
  }
  out.shape = ShapeOfRows(end - begin, batch.length, document);
  out.with_target = static_cast<double>(std::max<int64_t>(targets, 1)) * (end - begin) / batch.rows;
  return out;
}

}  // namespace rondo
