// Whole depths go (ShortGPT, Men et al. 2024; chosen here by the loss behind what is chosen).
#include <algorithm>
#include <string>

#include "compress/operator.h"

namespace rondo {
namespace {

class DropOperator : public Operator {
 public:
  std::string_view name() const override { return "drop"; }

  std::vector<Step> Steps(const State& state) const override {
    std::vector<Step> steps;
    if (state.origin.size() < 2) return steps;
    for (size_t depth = 0; depth < state.origin.size(); ++depth) {
      const int original = state.origin[depth];
      steps.push_back(
          {.name = "drop " + std::to_string(original),
           .apply = [original](const State& s, Meter&) { return Without(s, original); }});
    }
    return steps;
  }

 private:
  static State Without(const State& state, int original) {
    std::vector<int> kept;
    for (int depth = 0; depth < static_cast<int>(state.origin.size()); ++depth) {
      if (state.origin[static_cast<size_t>(depth)] != original) kept.push_back(depth);
    }
    State after = SelectDepths(state, kept);
    std::vector<int>& gone = after.model.plan.gone;
    gone.insert(std::ranges::lower_bound(gone, original), original);
    return after;
  }
};

}  // namespace

std::unique_ptr<Operator> MakeDrop() { return std::make_unique<DropOperator>(); }

}  // namespace rondo
