#include "engine/text_run.h"

#include <numeric>

namespace rondo {

void TextRun::Start(std::span<const int32_t> tokens) {
  cache_.Truncate(0);
  rows_ = tokens.size();
  cache_.ExpectLength(static_cast<int>(rows_));
  std::vector<int> positions(rows_);
  std::iota(positions.begin(), positions.end(), 0);
  hidden_.resize(rows_ * static_cast<size_t>(engine_->config().d_model));
  engine_->Embed(tokens, positions, hidden_.data());
}

void TextRun::RunDepth(int depth, std::vector<float>& hidden) {
  const RowSpan span{&cache_, depth, 0, static_cast<int>(rows_)};
  engine_->RunLayer({&span, 1}, hidden.data());
}

void TextRun::Head(const std::vector<float>& hidden, size_t first, size_t count,
                   float* logits) const {
  const auto width = static_cast<size_t>(engine_->config().d_model);
  engine_->Head(hidden.data() + first * width, static_cast<int64_t>(count), logits);
}

std::span<const float> TextRun::RowOf(const std::vector<float>& hidden, size_t i) const {
  const auto width = static_cast<size_t>(engine_->config().d_model);
  return std::span(hidden).subspan(i * width, width);
}

}  // namespace rondo
