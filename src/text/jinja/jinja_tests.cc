// Tests: "x is defined" and so on.
#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

using Test = bool (*)(const Value& subject, const Value& argument);

struct NamedTest {
  std::string_view name;
  Test test;
};

int64_t Integer(const Value& value) {
  if (!value.IsInteger()) Fail("a test of numbers got something else");
  return value.AsInteger();
}

bool IsSequence(const Value& v, const Value&) { return v.IsList() || v.IsString() || v.IsDict(); }
bool IsIterable(const Value& v, const Value&) {
  return v.IsList() || v.IsString() || v.IsDict() || v.IsUndefined();
}
bool IsEqual(const Value& v, const Value& other) { return v == other; }
bool IsUnequal(const Value& v, const Value& other) { return !(v == other); }
bool IsLess(const Value& v, const Value& other) { return Less(v, other); }
bool IsAtMost(const Value& v, const Value& other) { return !Less(other, v); }
bool IsGreater(const Value& v, const Value& other) { return Less(other, v); }
bool IsAtLeast(const Value& v, const Value& other) { return !Less(v, other); }
bool IsDivisible(const Value& v, const Value& other) {
  if (Integer(other) == 0) Fail("division by zero");
  return Integer(other) == -1 || Integer(v) % Integer(other) == 0;
}
// "is sameas": the same object; scalars that are equal and of one type are.
bool IsSame(const Value& v, const Value& other) {
  return std::string_view(v.TypeName()) == other.TypeName() && v == other;
}

constexpr std::array kTests = {
    NamedTest{"defined", [](const Value& v, const Value&) { return !v.IsUndefined(); }},
    NamedTest{"undefined", [](const Value& v, const Value&) { return v.IsUndefined(); }},
    NamedTest{"none", [](const Value& v, const Value&) { return v.Is<None>(); }},
    NamedTest{"boolean", [](const Value& v, const Value&) { return v.Is<bool>(); }},
    NamedTest{"true",
              [](const Value& v, const Value&) { return v.Is<bool>() && v.AsInteger() == 1; }},
    NamedTest{"false",
              [](const Value& v, const Value&) { return v.Is<bool>() && v.AsInteger() == 0; }},
    NamedTest{"string", [](const Value& v, const Value&) { return v.IsString(); }},
    NamedTest{"number", [](const Value& v, const Value&) { return v.IsNumber(); }},
    NamedTest{"integer", [](const Value& v, const Value&) { return v.Is<int64_t>(); }},
    NamedTest{"float", [](const Value& v, const Value&) { return v.Is<double>(); }},
    NamedTest{"mapping", [](const Value& v, const Value&) { return v.IsDict(); }},
    NamedTest{"callable", [](const Value& v, const Value&) { return v.IsFunction(); }},
    NamedTest{"odd", [](const Value& v, const Value&) { return Integer(v) % 2 != 0; }},
    NamedTest{"even", [](const Value& v, const Value&) { return Integer(v) % 2 == 0; }},
    NamedTest{"lower",
              [](const Value& v, const Value&) {
                return Lower(v.ToText()) == v.ToText() && Upper(v.ToText()) != v.ToText();
              }},
    NamedTest{"upper",
              [](const Value& v, const Value&) {
                return Upper(v.ToText()) == v.ToText() && Lower(v.ToText()) != v.ToText();
              }},
    NamedTest{"in", [](const Value& v, const Value& other) { return ContainsValue(other, v); }},
    NamedTest{"sequence", IsSequence},
    NamedTest{"iterable", IsIterable},
    NamedTest{"divisibleby", IsDivisible},
    NamedTest{"sameas", IsSame},
    NamedTest{"eq", IsEqual},
    NamedTest{"equalto", IsEqual},
    NamedTest{"==", IsEqual},
    NamedTest{"ne", IsUnequal},
    NamedTest{"!=", IsUnequal},
    NamedTest{"lt", IsLess},
    NamedTest{"lessthan", IsLess},
    NamedTest{"<", IsLess},
    NamedTest{"le", IsAtMost},
    NamedTest{"<=", IsAtMost},
    NamedTest{"gt", IsGreater},
    NamedTest{"greaterthan", IsGreater},
    NamedTest{">", IsGreater},
    NamedTest{"ge", IsAtLeast},
    NamedTest{">=", IsAtLeast},
};

const NamedTest* FindTest(std::string_view name) {
  const auto found = std::find_if(kTests.begin(), kTests.end(),
                                  [name](const NamedTest& test) { return test.name == name; });
  return found == kTests.end() ? nullptr : &*found;
}

}  // namespace

bool IsTest(std::string_view name) { return FindTest(name) != nullptr; }

bool ApplyTest(const std::string& name, const Value& subject, const Arguments& arguments) {
  const NamedTest* test = FindTest(name);
  if (test == nullptr) Fail("test '" + name + "' is not supported");
  return test->test(subject, ArgumentOr(arguments, 0, "other", Value()));
}

}  // namespace rondo::jinja
