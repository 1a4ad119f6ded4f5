// The names of the choices in rondo/generate.h.
#include "base/choice.h"
#include "rondo/generate.h"

namespace rondo {
namespace {

constexpr std::array<std::string_view, 6> kExitRules = {"never",         "confidence", "entropy",
                                                        "hidden-change", "gate",       "trace"};
constexpr std::array<std::string_view, 3> kSkippedKv = {"deferred", "copy-through", "last-loop"};
constexpr std::array<std::string_view, 5> kStopReasons = {"length", "eos", "stop", "cancelled",
                                                          "error"};

}  // namespace

std::string_view Name(ExitRule rule) { return ChoiceName(kExitRules, rule); }
ExitRule ExitRuleFromName(std::string_view name) {
  return ChoiceFromName<ExitRule>(kExitRules, name, "ExitRuleFromName");
}

std::string_view Name(SkippedKv policy) { return ChoiceName(kSkippedKv, policy); }
SkippedKv SkippedKvFromName(std::string_view name) {
  return ChoiceFromName<SkippedKv>(kSkippedKv, name, "SkippedKvFromName");
}

std::string_view Name(StopReason reason) { return ChoiceName(kStopReasons, reason); }

}  // namespace rondo
