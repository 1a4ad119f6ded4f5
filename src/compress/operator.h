// One means of making a model smaller or faster. The planner knows operators only through this
// interface; what an operator is stands in its own file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/meter.h"
#include "compress/state.h"

namespace rondo {

// One change that could be made now.
struct Step {
  std::string name;  // the same for the same change, whatever was chosen before: "drop 12"
  std::function<State(const State&, Meter&)> apply;
};

class Operator {
 public:
  virtual ~Operator() = default;
  virtual std::string_view name() const = 0;
  // Changes that lower the cost, each by a little.
  virtual std::vector<Step> Steps(const State& state) const = 0;
};

// "drop", "tie", "lowrank", "narrow", "embed", "bits": all that exist, or those named. Throws on an
// unknown name and suggests the nearest. "return" is no operator: it adds passes, see returns.h.
std::vector<std::unique_ptr<Operator>> MakeOperators(const std::vector<std::string>& only);
// Names that MakeOperators and the planner take.
std::vector<std::string> OperatorNames();

std::unique_ptr<Operator> MakeDrop();
std::unique_ptr<Operator> MakeTie();
std::unique_ptr<Operator> MakeLowRank();
std::unique_ptr<Operator> MakeNarrow();
std::unique_ptr<Operator> MakeEmbed();
std::unique_ptr<Operator> MakeBits();

}  // namespace rondo
