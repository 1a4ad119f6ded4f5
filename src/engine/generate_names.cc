// The names of the choices in rondo/generate.h.
#include <algorithm>
#include <iterator>
#include <string>

#include "rondo/error.h"
#include "rondo/generate.h"

namespace rondo {
namespace {

constexpr std::string_view kExitRules[] = {"never",         "confidence", "entropy",
                                           "hidden-change", "gate",       "trace"};
constexpr std::string_view kSkippedKv[] = {"deferred", "copy-through", "last-loop"};
constexpr std::string_view kStopReasons[] = {"length", "eos", "stop", "cancelled", "error"};

template <typename Choice, size_t kCount>
Choice FromName(const std::string_view (&names)[kCount], std::string_view name,
                const char* function) {
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found != std::end(names)) return static_cast<Choice>(found - std::begin(names));
  std::string expected;
  for (const std::string_view known : names) {
    expected += (expected.empty() ? "" : ", ") + std::string(known);
  }
  throw Error({.function = function,
               .problem = "unknown name '" + std::string(name) + "'",
               .expected = "one of " + expected,
               .file = {},
               .field = {}});
}

}  // namespace

std::string_view Name(ExitRule rule) { return kExitRules[static_cast<size_t>(rule)]; }
ExitRule ExitRuleFromName(std::string_view name) {
  return FromName<ExitRule>(kExitRules, name, "ExitRuleFromName");
}

std::string_view Name(SkippedKv policy) { return kSkippedKv[static_cast<size_t>(policy)]; }
SkippedKv SkippedKvFromName(std::string_view name) {
  return FromName<SkippedKv>(kSkippedKv, name, "SkippedKvFromName");
}

std::string_view Name(StopReason reason) { return kStopReasons[static_cast<size_t>(reason)]; }

}  // namespace rondo
