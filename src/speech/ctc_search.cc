#include "speech/ctc_search.h"

#include <algorithm>
#include <limits>

#include "kernels/log_softmax.h"
#include "rondo/speech_model.h"

namespace rondo {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

}  // namespace

double CtcSearch::Ends::Total() const { return LogAdd(blank, unit); }

void CtcSearch::Reset() {
  position_ = 0;
  greedy_ = {};
  last_ = kBlankUnit;
  prefixes_.clear();
  prefixes_[{}] = {0, kNever, {}, kNever};
}

void CtcSearch::Push(std::span<const float> log_p) {
  const auto width = static_cast<size_t>(units_);
  for (size_t at = 0; at < log_p.size(); at += width, ++position_) {
    if (beam_ <= 1) {
      PushGreedy(log_p.subspan(at, width));
    } else {
      PushBeam(log_p.subspan(at, width));
    }
  }
}

void CtcSearch::PushGreedy(std::span<const float> row) {
  const auto best = std::ranges::max_element(row);
  const auto unit = static_cast<int32_t>(best - row.begin());
  greedy_.log_p += *best;
  if (unit != kBlankUnit && unit != last_) {
    greedy_.units.push_back(unit);
    greedy_.positions.push_back(position_);
  }
  last_ = unit;
}

void CtcSearch::PushBeam(std::span<const float> row) {
  Beam next;
  const auto entry = [&](const std::vector<int32_t>& units) -> Ends& {
    return next.try_emplace(units, Ends{kNever, kNever, {}, kNever}).first->second;
  };
  for (const auto& [units, ends] : prefixes_) {
    const double total = ends.Total();
    Ends& same = entry(units);
    same.blank = LogAdd(same.blank, total + row[kBlankUnit]);
    if (!units.empty()) {
      same.unit = LogAdd(same.unit, ends.unit + row[static_cast<size_t>(units.back())]);
    }
    // The way that a prefix is most probable by says where its units are.
    if (same.positions.size() != units.size() || same.unit_positions_p < total) {
      same.positions = ends.positions;
      same.unit_positions_p = total;
    }
    for (int32_t unit = 0; unit < units_; ++unit) {
      if (unit == kBlankUnit) continue;
      const bool repeats = !units.empty() && units.back() == unit;
      const double way = (repeats ? ends.blank : total) + row[static_cast<size_t>(unit)];
      if (way == kNever) continue;
      std::vector<int32_t> longer = units;
      longer.push_back(unit);
      Ends& grown = entry(longer);
      grown.unit = LogAdd(grown.unit, way);
      if (grown.positions.size() != longer.size() || grown.unit_positions_p < way) {
        grown.positions = ends.positions;
        grown.positions.push_back(position_);
        grown.unit_positions_p = way;
      }
    }
  }
  std::vector<std::pair<double, const std::vector<int32_t>*>> order;
  for (const auto& [units, ends] : next) order.emplace_back(ends.Total(), &units);
  const size_t keep = std::min(order.size(), static_cast<size_t>(beam_));
  std::ranges::partial_sort(order, order.begin() + static_cast<int64_t>(keep),
                            [](const auto& a, const auto& b) { return a.first > b.first; });
  prefixes_.clear();
  for (size_t i = 0; i < keep; ++i) prefixes_.insert(next.extract(*order[i].second));
}

std::vector<Prefix> CtcSearch::Best() const {
  if (beam_ <= 1) return {greedy_};
  std::vector<Prefix> best;
  for (const auto& [units, ends] : prefixes_) {
    best.push_back({.units = units, .positions = ends.positions, .log_p = ends.Total()});
  }
  std::ranges::stable_sort(best, std::greater<>(), &Prefix::log_p);
  return best;
}

}  // namespace rondo
