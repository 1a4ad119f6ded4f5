#include "engine/loop_pass.h"

#include <algorithm>
#include <utility>

namespace rondo {

void Flight::Prepend(Flight&& earlier) {
  std::swap(hidden, earlier.hidden);
  hidden.insert(hidden.end(), earlier.hidden.begin(), earlier.hidden.end());
  first_position = earlier.first_position;
  count += earlier.count;
  earlier = {};
}

void Flight::Append(Flight&& later) {
  if (count == 0) {
    *this = std::move(later);
  } else {
    hidden.insert(hidden.end(), later.hidden.begin(), later.hidden.end());
    count += later.count;
  }
  later = {};
}

LoopPass::LoopPass(const Engine& engine)
    : engine_(engine),
      shape_(engine.loops()),
      width_(static_cast<size_t>(engine.config().d_model)) {}

void LoopPass::Gather(std::span<Flight* const> flights) {
  rows_.clear();
  for (const Flight* flight : flights) {
    rows_.insert(rows_.end(), flight->hidden.begin(), flight->hidden.end());
  }
}

void LoopPass::Scatter(std::span<Flight* const> flights) const {
  const float* from = rows_.data();
  for (Flight* flight : flights) {
    std::copy_n(from, flight->hidden.size(), flight->hidden.begin());
    from += flight->hidden.size();
  }
}

void LoopPass::Enter(std::span<Flight* const> flights, std::span<const int32_t> tokens) {
  std::vector<int> positions;
  std::vector<RowSpan> spans;
  for (Flight* flight : flights) {
    for (int i = 0; i < flight->count; ++i) positions.push_back(flight->first_position + i);
    spans.push_back({flight->cache, 0, flight->first_position, flight->count});
    flight->hidden.resize(static_cast<size_t>(flight->count) * width_);
  }
  rows_.resize(positions.size() * width_);
  engine_.Embed(tokens, positions, rows_.data());
  for (int depth = 0; depth < shape_.prologue; ++depth) {
    for (RowSpan& span : spans) span.depth = depth;
    engine_.RunLayer(spans, rows_.data());
  }
  Scatter(flights);
}

void LoopPass::Run(std::span<Flight* const> flights, std::span<const KvFill> fills) {
  // Rows of one loop side by side: fewer changes of residual.
  std::vector<Flight*> order(flights.begin(), flights.end());
  std::ranges::stable_sort(order, {}, &Flight::loop);
  Gather(order);
  std::vector<float> fill_rows;
  for (const KvFill& fill : fills) {
    for (int loop = fill.first_loop; loop < fill.end_loop; ++loop) {
      fill_rows.insert(fill_rows.end(), fill.hidden.begin(), fill.hidden.end());
    }
  }
  for (int stage = 0; stage < shape_.stages; ++stage) {
    std::vector<RowSpan> spans, fill_spans;
    for (const Flight* flight : order) {
      spans.push_back({flight->cache, shape_.Depth(flight->loop, stage), flight->first_position,
                       flight->count});
    }
    for (const KvFill& fill : fills) {
      for (int loop = fill.first_loop; loop < fill.end_loop; ++loop) {
        fill_spans.push_back({fill.cache, shape_.Depth(loop, stage), fill.position, 1});
      }
    }
    engine_.FillKv(fill_spans, fill_rows.data());
    engine_.RunLayer(spans, rows_.data());
  }
  Scatter(order);
  for (Flight* flight : order) ++flight->loop;
}

std::span<const float> LoopPass::Leave(std::span<const Leaving> leaving) {
  rows_.clear();
  std::vector<RowSpan> spans;
  for (const Leaving& leave : leaving) {
    const Flight& flight = *leave.flight;
    spans.push_back({flight.cache, 0, flight.end() - leave.rows, leave.rows});
    rows_.insert(rows_.end(),
                 flight.hidden.end() - static_cast<std::ptrdiff_t>(leave.rows * width_),
                 flight.hidden.end());
  }
  for (int i = 0; i < shape_.epilogue; ++i) {
    for (RowSpan& span : spans) span.depth = shape_.EpilogueDepth(i);
    engine_.RunLayer(spans, rows_.data());
  }
  // Only rows whose logits count go on, moved to the front.
  size_t kept = 0, row = 0;
  for (const Leaving& leave : leaving) {
    row += static_cast<size_t>(leave.rows - leave.logits);
    for (int i = 0; i < leave.logits; ++i, ++kept, ++row) {
      std::copy_n(rows_.begin() + static_cast<std::ptrdiff_t>(row * width_), width_,
                  rows_.begin() + static_cast<std::ptrdiff_t>(kept * width_));
    }
  }
  logits_.resize(kept * static_cast<size_t>(engine_.config().vocab));
  if (kept > 0) engine_.Head(rows_.data(), static_cast<int64_t>(kept), logits_.data());
  return logits_;
}

}  // namespace rondo
