#include "compress/operator.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using Maker = std::unique_ptr<Operator> (*)();

constexpr std::array<std::pair<std::string_view, Maker>, 7> kMakers = {{{"drop", MakeDrop},
                                                                        {"return", nullptr},
                                                                        {"tie", MakeTie},
                                                                        {"lowrank", MakeLowRank},
                                                                        {"narrow", MakeNarrow},
                                                                        {"embed", MakeEmbed},
                                                                        {"bits", MakeBits}}};

}  // namespace

std::vector<std::string> OperatorNames() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : kMakers) names.emplace_back(name);
  return names;
}

std::vector<std::unique_ptr<Operator>> MakeOperators(const std::vector<std::string>& only) {
  const std::vector<std::string> known = OperatorNames();
  for (const std::string& name : only) {
    if (std::ranges::find(known, name) != known.end()) continue;
    throw Error({.function = "MakeOperators",
                 .problem = "unknown operator '" + name + "'",
                 .expected = UnknownNameHint(name, known)});
  }
  std::vector<std::unique_ptr<Operator>> operators;
  for (const auto& [name, maker] : kMakers) {
    const bool wanted = only.empty() || std::ranges::find(only, name) != only.end();
    if (wanted && maker != nullptr) operators.push_back(maker());
  }
  return operators;
}

}  // namespace rondo
