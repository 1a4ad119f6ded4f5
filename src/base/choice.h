// Choices by name: enumerations whose values 0, 1, … stand in the order of a list of names.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {

// The value of that name; throws naming `function`, the name and the nearest known one.
template <typename Choice, size_t kCount>
Choice ChoiceFromName(const std::array<std::string_view, kCount>& names, std::string_view name,
                      const char* function) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<Choice>(found - names.begin());
  const std::vector<std::string> known(names.begin(), names.end());
  throw Error({.function = function,
               .problem = "unknown name '" + std::string(name) + "'",
               .expected = UnknownNameHint(name, known)});
}

template <typename Choice, size_t kCount>
std::string_view ChoiceName(const std::array<std::string_view, kCount>& names, Choice choice) {
  return names[static_cast<size_t>(choice)];
}

}  // namespace rondo
