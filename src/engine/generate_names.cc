#include "engine/generate_names.h"

namespace rondo {
namespace {

constexpr std::array<std::string_view, 5> kStopReasons = {"length", "eos", "stop", "cancelled",
                                                          "error"};

}  // namespace

std::string_view Name(ExitRule rule) { return ChoiceName(rule); }
ExitRule ExitRuleFromName(std::string_view name) {
  return ChoiceFromName<ExitRule>(name, "ExitRuleFromName");
}

std::string_view Name(SkippedKv policy) { return ChoiceName(policy); }
SkippedKv SkippedKvFromName(std::string_view name) {
  return ChoiceFromName<SkippedKv>(name, "SkippedKvFromName");
}

std::string_view Name(StopReason reason) { return ChoiceName(kStopReasons, reason); }

}  // namespace rondo
