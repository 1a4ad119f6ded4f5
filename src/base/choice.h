// Choices by name: enumerations whose values 0, 1, … stand in the order of one list of names.
//
//   template <>
//   inline constexpr auto kChoices<FadeKind> = Choices("none", "linear", "cosine");
//
//   FadeKind fade = ChoiceFromName<FadeKind>("linear", "ReadRecipe");
//   ChoiceName(fade)   // "linear"
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {

template <typename... Names>
constexpr std::array<std::string_view, sizeof...(Names)> Choices(Names... names) {
  return {names...};
}

// The names of an enumeration's values. Specialised beside the enumeration, or in a header that
// everyone who needs the names includes.
template <typename Enum>
inline constexpr auto kChoices = std::array<std::string_view, 0>();

template <typename T>
concept NamedEnum = std::is_enum_v<T> && kChoices<T>
.size() > 0;

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

template <NamedEnum Choice>
Choice ChoiceFromName(std::string_view name, const char* function) {
  return ChoiceFromName<Choice>(kChoices<Choice>, name, function);
}

template <typename Choice, size_t kCount>
std::string_view ChoiceName(const std::array<std::string_view, kCount>& names, Choice choice) {
  return names[static_cast<size_t>(choice)];
}

template <NamedEnum Choice>
std::string_view ChoiceName(Choice choice) {
  return ChoiceName(kChoices<Choice>, choice);
}

}  // namespace rondo
