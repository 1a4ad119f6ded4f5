#include "compress/search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "base/progress.h"
#include "rondo/error.h"

namespace rondo {
namespace {

const std::string kBetween = "; ";

std::vector<std::string> SplitNames(const std::string& names) {
  std::vector<std::string> all;
  size_t begin = 0;
  for (size_t end = names.find(kBetween); end != names.npos; end = names.find(kBetween, begin)) {
    all.push_back(names.substr(begin, end - begin));
    begin = end + kBetween.size();
  }
  all.push_back(names.substr(begin));
  return all;
}

class Searcher {
 public:
  Searcher(const State& start, const CostOf& cost,
           const std::vector<std::unique_ptr<Operator>>& operators, Meter& meter, double target)
      : cost_(cost), operators_(operators), meter_(meter), target_(target) {
    result_.state = start;
    Accept("", start, meter.SetBase(start));
  }

  double cost() const { return result_.choices.back().cost; }
  const Choice& last() const { return result_.choices.back(); }

  void Repeat(const std::vector<Choice>& known) {
    for (const Choice& choice : known) {
      if (choice.name.empty()) continue;
      State next = result_.state;
      for (const std::string& name : SplitNames(choice.name)) {
        std::optional<State> after = Applied(next, name);
        if (!after) {
          throw Error({.function = "Search",
                       .problem = "step '" + name + "', which cannot be taken here",
                       .expected = "a search of the same model with the same operators",
                       .field = "search"});
        }
        next = std::move(*after);
      }
      // Operators read the base state's activations.
      const MeterValue value = meter_.SetBase(next);
      Accept(choice.name, std::move(next), value);
    }
  }

  // `most`: cost that one choice of several steps may save.
  void Next(double most) {
    const std::vector<Step> steps = AllSteps(result_.state);
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
    std::string name = best.step->name;
    ratios_.erase(name);
    TakeAlong(order, best, most, &name);
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

  std::vector<Step> AllSteps(const State& state) const {
    std::vector<Step> all;
    for (const auto& op : operators_) {
      for (Step& step : op->Steps(state)) all.push_back(std::move(step));
    }
    return all;
  }

  std::optional<State> Applied(const State& state, const std::string& name) {
    const std::vector<Step> steps = AllSteps(state);
    const auto step = std::ranges::find(steps, name, &Step::name);
    if (step == steps.end()) return std::nullopt;
    return step->apply(state, meter_);
  }

  void TakeAlong(const std::vector<std::pair<double, const Step*>>& order, Candidate& best,
                 double most, std::string* name) {
    constexpr double kAlike = 1.25;
    const double limit = best.ratio * (best.ratio > 0 ? kAlike : 1 / kAlike);
    for (const auto& [ratio, step] : order) {
      if (cost() - cost_(best.state) >= most || ratio > limit) break;
      if (step == best.step) continue;
      std::optional<State> after = Applied(best.state, step->name);
      if (!after || cost() - cost_(*after) > most) continue;
      best.state = std::move(*after);
      *name += kBetween + step->name;
      ratios_.erase(step->name);
    }
  }

  Candidate Measure(const Step& step) {
    Candidate candidate{.step = &step, .ratio = INFINITY, .state = {}};
    candidate.state = step.apply(result_.state, meter_);
    // What is saved beyond the target is worth nothing.
    const double saved = std::min(cost() - cost_(candidate.state), cost() - target_);
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
  const double target_;
  SearchResult result_;
  std::map<std::string, double> ratios_;  // as measured last
};

}  // namespace

SearchResult Search(const State& start, const CostOf& cost,
                    const std::vector<std::unique_ptr<Operator>>& operators, Meter& meter,
                    const std::vector<Choice>& known,
                    const std::function<void(const Choice&)>& chosen,
                    const SearchOptions& options) {
  Searcher searcher(start, cost, operators, meter, options.target);
  if (known.empty()) {
    chosen(searcher.last());
  } else {
    searcher.Repeat(known);
  }
  constexpr int64_t kThousandths = 1000;
  Progress progress("choose", kThousandths, options.quiet);
  const double first = searcher.cost(), span = std::max(first - options.target, 1e-9);
  constexpr double kBatch = 1.0 / 40;
  int64_t shown = 0;
  while (searcher.cost() > options.target) {
    searcher.Next(span * kBatch);
    chosen(searcher.last());
    const auto done = static_cast<int64_t>((first - searcher.cost()) / span * kThousandths);
    progress.Add(std::min(done, kThousandths) - shown);
    shown = std::min(done, kThousandths);
  }
  return searcher.Take();
}

}  // namespace rondo
