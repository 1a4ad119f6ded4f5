#include "compress/search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/progress.h"
#include "rondo/error.h"

namespace rondo {
namespace {

class Searcher {
 public:
  Searcher(const State& start, const CostOf& cost,
           const std::vector<std::unique_ptr<Operator>>& operators, Meter& meter)
      : cost_(cost), operators_(operators), meter_(meter) {
    result_.state = start;
    Accept("", start, meter.SetBase(start));
  }

  double cost() const { return result_.choices.back().cost; }
  const Choice& last() const { return result_.choices.back(); }

  void Repeat(const std::vector<Choice>& known) {
    for (const Choice& choice : known) {
      if (choice.name.empty()) continue;
      const std::vector<Step> steps = AllSteps();
      const auto step = std::ranges::find(steps, choice.name, &Step::name);
      if (step == steps.end()) {
        throw Error({.function = "Search",
                     .problem = "step '" + choice.name + "', which cannot be taken here",
                     .expected = "a search of the same model with the same operators",
                     .field = "search"});
      }
      State next = step->apply(result_.state, meter_);
      // Operators read the base state's activations.
      const MeterValue value = meter_.SetBase(next);
      Accept(choice.name, std::move(next), value);
    }
  }

  void Next() {
    const std::vector<Step> steps = AllSteps();
    std::vector<std::pair<double, const Step*>> order;
    for (const Step& step : steps) {
      const auto found = ratios_.find(step.name);
      order.emplace_back(found == ratios_.end() ? Measure(step).ratio : found->second, &step);
    }
    if (order.empty()) {
      throw Error({.function = "Search",
                   .problem = "no step is left at a cost of " + std::to_string(cost()),
                   .expected = "a larger target, or more operators (--only)"});
    }
    std::ranges::stable_sort(order, {}, [](const auto& entry) { return entry.first; });
    Candidate best;
    for (const auto& [ratio, step] : order) {
      if (best.step != nullptr && best.ratio <= ratio) break;  // no other looks better
      Candidate again = Measure(*step);
      if (best.step == nullptr || again.ratio < best.ratio) best = std::move(again);
    }
    const std::string name = best.step->name;
    ratios_.erase(name);
    const MeterValue value = meter_.SetBase(best.state);
    Accept(name, std::move(best.state), value);
  }

  SearchResult Take() { return std::move(result_); }

 private:
  struct Candidate {
    const Step* step = nullptr;
    double ratio = 0;  // divergence per cost
    State state;
  };

  std::vector<Step> AllSteps() const {
    std::vector<Step> all;
    for (const auto& op : operators_) {
      for (Step& step : op->Steps(result_.state)) all.push_back(std::move(step));
    }
    return all;
  }

  Candidate Measure(const Step& step) {
    Candidate candidate{.step = &step, .ratio = INFINITY, .state = {}};
    candidate.state = step.apply(result_.state, meter_);
    const double saved = cost() - cost_(candidate.state);
    if (saved > 0) {
      candidate.ratio = (meter_.Measure(candidate.state).kl - last().kl) / saved;
    }
    ratios_[step.name] = candidate.ratio;
    return candidate;
  }

  void Accept(const std::string& name, State state, const MeterValue& value) {
    const double cost = cost_(state);
    result_.state = std::move(state);
    result_.choices.push_back({.name = name, .cost = cost, .kl = value.kl, .nll = value.nll});
  }

  const CostOf& cost_;
  const std::vector<std::unique_ptr<Operator>>& operators_;
  Meter& meter_;
  SearchResult result_;
  std::map<std::string, double> ratios_;  // as measured last
};

}  // namespace

SearchResult Search(const State& start, const CostOf& cost,
                    const std::vector<std::unique_ptr<Operator>>& operators, Meter& meter,
                    const std::vector<Choice>& known,
                    const std::function<void(const Choice&)>& chosen,
                    const SearchOptions& options) {
  Searcher searcher(start, cost, operators, meter);
  if (known.empty()) {
    chosen(searcher.last());
  } else {
    searcher.Repeat(known);
  }
  constexpr int64_t kThousandths = 1000;
  Progress progress("choose", kThousandths, options.quiet);
  const double first = searcher.cost(), span = std::max(first - options.target, 1e-9);
  int64_t shown = 0;
  while (searcher.cost() > options.target) {
    searcher.Next();
    chosen(searcher.last());
    const auto done = static_cast<int64_t>((first - searcher.cost()) / span * kThousandths);
    progress.Add(std::min(done, kThousandths) - shown);
    shown = std::min(done, kThousandths);
  }
  return searcher.Take();
}

}  // namespace rondo
