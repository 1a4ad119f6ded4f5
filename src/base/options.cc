#include "base/options.h"

namespace rondo {

bool Range::Holds(double value) const {
  if (off && value == *off) return true;
  if (std::isnan(value)) return false;
  const bool high_enough = above ? value > least : value >= least;
  return high_enough && (below ? value < most : value <= most);
}

std::string Range::Text() const {
  const std::string from = ShortestNumber(least), to = ShortestNumber(most);
  std::string text;
  if (std::isfinite(least) && std::isfinite(most)) {
    text = above && below ? "between " + from + " and " + to
                          : (above ? "above " : "") + from + (above ? ", to " : " to ") +
                                (below ? "below " : "") + to;
  } else if (std::isfinite(least)) {
    text = above ? "above " + from : from + " or more";
  } else if (std::isfinite(most)) {
    text = (below ? "below " : "at most ") + to;
  }
  return off ? ShortestNumber(*off) + ", or " + text : text;
}

Condition Both(const Condition& a, const Condition& b) {
  if (a.only.empty() && a.holds) return b;
  if (b.only.empty() && b.holds) return a;
  if (!a.holds) return a;
  if (!b.holds) return b;
  return {true, a.only + " and " + b.only};
}

Fault DoesNothing(const Field& field) {
  return {"given, but does nothing here", "only " + field.when.only};
}

void RangeCheck::Fail(const Field& field, const Fault& fault) const {
  throw Error({.function = "RangeCheck",
               .problem = fault.problem,
               .expected = fault.expected,
               .file = file_,
               .field = place_ + std::string(field.name)});
}

}  // namespace rondo
