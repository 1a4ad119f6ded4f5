// Options as plain structs, and one function for each struct that lists its fields. Whatever has to
// do with fields walks that list: reading recipes and command lines, help, writing, checks.
//
//   struct Losses { double kd = 0.5; FadeKind fade = FadeKind::kNone; double fade_until = 0.8; };
//
//   template <typename Visitor>
//   void Visit(Losses& o, Visitor& v) {
//     v({.name = "kd", .help = "weight of the teacher", .range = AtLeast(0)}, o.kd);
//     v({.name = "fade", .help = "how the teacher goes"}, o.fade);
//     v({.name = "fade_until",
//        .help = "share of the stage at which it is gone",
//        .range = ShareAboveZero(),
//        .when = {o.fade != FadeKind::kNone, "with a fade"}},
//       o.fade_until);
//   }
//
// A visitor is called with a Field and a reference to the value. A condition (`when`) is true of
// the values as they are during the walk; a value that somebody gave while its condition is false
// is an error (DoesNothing), and one that nobody gave is neither used nor written.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/choice.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {

// A command line that makes no sense. Programs end with code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// An interval; `off` is a value outside of it that is allowed too.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool above = false;  // least itself is not allowed
  bool below = false;  // nor is most
  std::optional<double> off = {};

  bool Holds(double value) const;
  std::string Text() const;  // "0 or more", "above 0, to 1"; empty: any number
};
inline Range AtLeast(double least) { return {.least = least}; }
inline Range Above(double least) { return {.least = least, .above = true}; }
inline Range Between(double least, double most) { return {.least = least, .most = most}; }
inline Range Share() { return Between(0, 1); }
inline Range ShareAboveZero() { return {.least = 0, .most = 1, .above = true}; }
inline Range ShareBelowOne() { return {.least = 0, .most = 1, .below = true}; }

// When a field counts. `only` completes "does nothing here (expected only …)": "with --stream".
struct Condition {
  bool holds = true;
  std::string only = {};
};
// Both, and the text of the first that fails.
Condition Both(const Condition& a, const Condition& b);

struct Field {
  std::string_view name;  // as in recipes; command lines have '-' in place of '_'
  std::string help;       // what a user gets, without a full stop
  Range range = {};
  Condition when = {};
  std::span<const std::string_view> among = {};  // the names allowed, where not all of a type are
  // Command lines only.
  char letter = 0;          // short form: -o
  bool positional = false;  // told by its place, without a name
  bool required = false;
  bool whole = false;   // of a list: a comma does not separate elements
  bool single = false;  // of a list: the flag is repeated for every element
};

// Hands fields on to another visitor, each with one more condition.
template <typename Visitor>
class Only {
 public:
  Only(Visitor& visitor, Condition condition)
      : visitor_(visitor), condition_(std::move(condition)) {}
  template <typename T>
  void operator()(Field field, T& value) {
    field.when = Both(condition_, field.when);
    visitor_(field, value);
  }

 private:
  Visitor& visitor_;
  Condition condition_;
};

template <typename T>
inline constexpr bool kIsList = false;
template <typename T>
inline constexpr bool kIsList<std::vector<T>> = true;
template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

// Values as text. A type of its own gets overloads of these four in namespace rondo.

// False where the text is no such value.
template <typename T>
bool FromText(std::string_view text, T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    value = text;
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    value = text == "true";
    return value || text == "false";
  } else if constexpr (NamedEnum<T>) {
    const auto& names = kChoices<T>;
    const auto found = std::find(names.begin(), names.end(), text);
    if (found != names.end()) value = static_cast<T>(found - names.begin());
    return found != names.end();
  } else if constexpr (kIsOptional<T>) {
    if (text == "auto") {
      value.reset();
      return true;
    }
    return FromText(text, value.emplace());
  } else {
    static_assert(std::is_arithmetic_v<T>);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value)) return false;
    }
    return error == std::errc() && end == text.data() + text.size();
  }
}

template <typename T>
std::string ToText(const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (NamedEnum<T>) {
    return std::string(ChoiceName(value));
  } else if constexpr (kIsOptional<T>) {
    return value ? ToText(*value) : "auto";
  } else if constexpr (kIsList<T>) {
    std::vector<std::string> parts;
    for (const auto& item : value) parts.push_back(ToText(item));
    return Join(parts, ",");
  } else if constexpr (std::is_floating_point_v<T>) {
    return ShortestNumber(static_cast<double>(value));
  } else {
    return std::to_string(value);
  }
}

// The names that a value of type T may have; empty: it has no names.
template <typename T>
std::vector<std::string> NamesOf(const T*) {
  if constexpr (NamedEnum<T>) {
    return {kChoices<T>.begin(), kChoices<T>.end()};
  } else if constexpr (kIsOptional<T>) {
    std::vector<std::string> names = NamesOf(static_cast<const typename T::value_type*>(nullptr));
    if (!names.empty()) names.insert(names.begin(), "auto");
    return names;
  } else if constexpr (kIsList<T>) {
    return NamesOf(static_cast<const typename T::value_type*>(nullptr));
  } else {
    return {};
  }
}

// What a name means that others use for such values, and what to take instead; empty: nothing.
template <typename T>
std::string ForeignName(std::string_view name, const T*) {
  if constexpr (kIsOptional<T>) {
    return ForeignName(name, static_cast<const typename T::value_type*>(nullptr));
  } else {
    return {};
  }
}

// The names allowed in a field.
template <typename T>
std::vector<std::string> NamesOf(const Field& field, const T& value) {
  if (!field.among.empty()) return {field.among.begin(), field.among.end()};
  return NamesOf(&value);
}

// "an integer", "a number".
template <typename T>
std::string TypeText() {
  if constexpr (kIsOptional<T>) {
    return TypeText<typename T::value_type>();
  } else if constexpr (kIsList<T>) {
    return "a list";
  } else if constexpr (std::is_same_v<T, bool>) {
    return "true or false";
  } else if constexpr (std::is_integral_v<T>) {
    return "an integer";
  } else if constexpr (std::is_floating_point_v<T>) {
    return "a number";
  } else {
    return "a string";
  }
}

// What is wrong with a value: problem and expected, or nothing.
struct Fault {
  std::string problem, expected;
};

template <typename T>
std::optional<Fault> FaultOf(const Field& field, const T& value) {
  if constexpr (kIsList<T>) {
    for (const auto& item : value) {
      if (auto fault = FaultOf(field, item)) return fault;
    }
  } else if constexpr (kIsOptional<T>) {
    if (value) return FaultOf(field, *value);
  } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    const auto number = static_cast<double>(value);
    if (!field.range.Holds(number)) return Fault{"value " + ToText(value), field.range.Text()};
  } else if (!field.among.empty()) {
    const std::string name = ToText(value);
    const std::vector<std::string> names = NamesOf(field, value);
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Fault{"value '" + name + "'", UnknownNameHint(name, names)};
    }
  }
  return std::nullopt;
}

// Gives a value from text, or tells what is wrong with it.
template <typename T>
std::optional<Fault> Assign(const Field& field, std::string_view text, T& value) {
  if constexpr (kIsList<T>) {
    const std::vector<std::string> parts =
        field.whole ? std::vector{std::string(text)} : Split(std::string(text), ',');
    for (const std::string& part : parts) {
      if (auto fault = Assign(field, part, value.emplace_back())) return fault;
    }
    return std::nullopt;
  } else {
    const std::vector<std::string> names = NamesOf(field, value);
    if (!FromText(text, value)) {
      if (names.empty()) return Fault{"value '" + std::string(text) + "'", TypeText<T>()};
      const std::string meaning = ForeignName(text, &value);
      return Fault{"unknown name '" + std::string(text) + "'" +
                       (meaning.empty() ? "" : " (" + meaning + ")"),
                   UnknownNameHint(text, names)};
    }
    return FaultOf(field, value);
  }
}

// Of a value that was given where it does not count.
Fault DoesNothing(const Field& field);

// Throws for a value out of its range, of fields whose conditions hold.
class RangeCheck {
 public:
  // `place`: what stands before a field's name, "stages.0."; `file` may be empty.
  RangeCheck(std::string file, std::string place)
      : file_(std::move(file)), place_(std::move(place)) {}
  template <typename T>
  void operator()(const Field& field, T& value) const {
    if (!field.when.holds) return;
    if (const auto fault = FaultOf(field, value)) Fail(field, *fault);
  }

 private:
  [[noreturn]] void Fail(const Field& field, const Fault& fault) const;
  std::string file_, place_;
};

}  // namespace rondo
