// Greedy search: step after step the change that raises the divergence least for what it saves,
// each measured behind all that are chosen already.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compress/operator.h"

namespace rondo {

using CostOf = std::function<double(const State&)>;

// One accepted step.
struct Choice {
  std::string name;
  double cost = 0;  // of the whole, after it
  double kl = 0, nll = 0;
};

struct SearchOptions {
  double target = 0;  // largest cost that is good enough
  bool quiet = true;
};

struct SearchResult {
  State state;
  std::vector<Choice> choices;  // the first stands for the model as it came
};

// Takes steps until cost(state) <= target; throws where no step is left before. Measured values are
// lower bounds of later ones for the most part, so that only the step that looks best is measured
// again (Minoux 1978). `known`: steps of an earlier search that was interrupted, which are taken
// without measuring; `chosen` is called after every further one.
SearchResult Search(const State& start, const CostOf& cost,
                    const std::vector<std::unique_ptr<Operator>>& operators, Meter& meter,
                    const std::vector<Choice>& known,
                    const std::function<void(const Choice&)>& chosen, const SearchOptions& options);

}  // namespace rondo
