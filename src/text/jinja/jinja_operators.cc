#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_library.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

[[noreturn]] void FailTypes(const std::string& name, const Value& a, const Value& b) {
  const Value& undefined = a.IsUndefined() ? a : b;
  if (undefined.IsUndefined()) Fail("'" + undefined.UndefinedName() + "' is undefined");
  Fail("unsupported operands for " + name + ": " + a.TypeName() + " and " + b.TypeName());
}

int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

int64_t Power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    if (base == 0 || base == 1) return base;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    if (__builtin_mul_overflow(result, base, &result)) Fail("number too large");
  }
  return result;
}

Value IntegerOperation(const std::string& name, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (name == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (name == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (name == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (name == "**") {
    if (b < 0) return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
    return Value(Power(a, b));
  } else {
    if (b == 0) Fail("division by zero");
    if (name == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
    overflow = a == std::numeric_limits<int64_t>::min() && b == -1;
    if (!overflow) result = name == "//" ? FloorDivide(a, b) : a - FloorDivide(a, b) * b;
  }
  if (overflow) Fail("number too large");
  return Value(result);
}

Value FloatOperation(const std::string& name, double a, double b) {
  if (name == "+") return Value(a + b);
  if (name == "-") return Value(a - b);
  if (name == "*") return Value(a * b);
  if (name == "**") return Value(std::pow(a, b));
  if (b == 0) Fail("division by zero");
  if (name == "/") return Value(a / b);
  if (name == "//") return Value(std::floor(a / b));
  return Value(a - std::floor(a / b) * b);
}

Value Repeat(Interpreter& in, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  constexpr int64_t kMost = 1 << 20;
  if (times > kMost) Fail("repeats too often");
  if (value.IsString()) {
    const size_t size = value.AsString().size() * static_cast<size_t>(times);
    in.Charge(size / 16);
    std::string text;
    text.reserve(size);
    for (int64_t i = 0; i < times; ++i) text += value.AsString();
    return in.NewText(std::move(text));
  }
  in.Charge(value.AsList().items.size() * static_cast<size_t>(times));
  std::vector<Value> items;
  for (int64_t i = 0; i < times; ++i) {
    items.insert(items.end(), value.AsList().items.begin(), value.AsList().items.end());
  }
  return Value::MakeList(std::move(items), value.AsList().is_tuple);
}

// Index of Python, which may count from the end; -1 if it is outside.
int64_t Normalize(int64_t index, size_t size) {
  const auto count = static_cast<int64_t>(size);
  if (index < -count || index >= count) return -1;
  return index < 0 ? index + count : index;
}

// The places a slice takes, as Python's slice.indices.
std::vector<size_t> SlicePlaces(size_t size, const Value& start, const Value& stop,
                                const Value& step_value) {
  const auto number = [](const Value& value, int64_t fallback) {
    if (value.Is<None>()) return fallback;
    if (!value.IsInteger()) Fail("slice with something that is no integer");
    return value.AsInteger();
  };
  constexpr int64_t kFar = int64_t{1} << 40;
  const auto count = static_cast<int64_t>(size);
  const int64_t step = number(step_value, 1);
  if (step == 0 || std::abs(step) > kFar) Fail("slice with a bad step");
  const auto clamp = [&](int64_t place) {
    if (place < 0) place = std::max(place, -kFar) + count;
    const int64_t low = step < 0 ? -1 : 0;
    const int64_t high = step < 0 ? count - 1 : count;
    return std::clamp(place, low, std::max(low, high));
  };
  const bool no_start = start.Is<None>();
  const bool no_stop = stop.Is<None>();
  const int64_t first = no_start ? (step < 0 ? count - 1 : 0) : clamp(number(start, 0));
  const int64_t last = no_stop ? (step < 0 ? -1 : count) : clamp(number(stop, 0));
  std::vector<size_t> places;
  for (int64_t i = first; step > 0 ? i < last : i > last; i += step) {
    places.push_back(static_cast<size_t>(i));
  }
  return places;
}

}  // namespace

Value BinaryOperation(Interpreter& in, const std::string& name, const Value& a, const Value& b) {
  if (name == "%" && a.IsString()) return FormatPercent(in, a.AsString(), b);
  if (name == "~") return in.NewText(a.ToText() + b.ToText());
  if (a.IsInteger() && b.IsInteger()) return IntegerOperation(name, a.AsInteger(), b.AsInteger());
  if (a.IsNumber() && b.IsNumber()) return FloatOperation(name, a.AsNumber(), b.AsNumber());
  if (name == "+" && a.IsString() && b.IsString()) return in.NewText(a.AsString() + b.AsString());
  if (name == "+" && a.IsList() && b.IsList() && a.AsList().is_tuple == b.AsList().is_tuple) {
    std::vector<Value> items = a.AsList().items;
    items.insert(items.end(), b.AsList().items.begin(), b.AsList().items.end());
    in.Charge(items.size());
    return Value::MakeList(std::move(items), a.AsList().is_tuple);
  }
  if (name == "*" && (a.IsString() || a.IsList()) && b.IsInteger()) {
    return Repeat(in, a, b.AsInteger());
  }
  if (name == "*" && a.IsInteger() && (b.IsString() || b.IsList())) {
    return Repeat(in, b, a.AsInteger());
  }
  FailTypes(name, a, b);
}

bool ContainsValue(const Value& container, const Value& item) {
  if (container.IsString()) {
    if (!item.IsString()) FailTypes("in", item, container);
    return container.AsString().find(item.AsString()) != std::string::npos;
  }
  if (container.IsList()) {
    const auto& items = container.AsList().items;
    return std::find(items.begin(), items.end(), item) != items.end();
  }
  if (container.IsDict()) return container.Find(item) != nullptr;
  if (container.IsUndefined()) return false;
  Fail(std::string("a ") + container.TypeName() + " contains nothing");
}

Value GetAttribute(const Value& object, const std::string& name) {
  if (object.IsUndefined()) Fail("'" + object.UndefinedName() + "' is undefined");
  if (object.Is<Namespace*>()) {
    for (const auto& [candidate, value] : object.AsNamespace().attributes) {
      if (candidate == name) return value;
    }
    return Value::MakeUndefined(name);
  }
  if (object.IsList() && object.AsList().is_group) {
    if (name == "grouper") return object.AsList().items[0];
    if (name == "list") return object.AsList().items[1];
  }
  Value method = GetMethod(object, name);
  if (!method.IsUndefined()) return method;
  if (object.IsDict()) {
    if (const Value* found = object.Find(Value(name))) return *found;
  }
  return Value::MakeUndefined(name);
}

Value GetItem(const Value& object, const Value& key) {
  if (object.IsUndefined()) Fail("'" + object.UndefinedName() + "' is undefined");
  if (object.IsDict()) {
    if (const Value* found = object.Find(key)) return *found;
  } else if (object.IsList() && key.IsInteger()) {
    const auto& items = object.AsList().items;
    const int64_t place = Normalize(key.AsInteger(), items.size());
    if (place >= 0) return items[static_cast<size_t>(place)];
  } else if (object.IsString() && key.IsInteger()) {
    const std::vector<std::string_view> characters = Characters(object.AsString());
    const int64_t place = Normalize(key.AsInteger(), characters.size());
    if (place >= 0) return Value(std::string(characters[static_cast<size_t>(place)]));
  }
  if (key.IsString()) {
    return object.IsDict() ? GetMethod(object, key.AsString())
                           : GetAttribute(object, key.AsString());
  }
  return Value::MakeUndefined(key.ToText());
}

Value GetSlice(Interpreter& in, const Value& object, const Value& start, const Value& stop,
               const Value& step) {
  if (object.IsString()) {
    const std::vector<std::string_view> characters = Characters(object.AsString());
    in.Charge(characters.size());
    std::string text;
    for (const size_t place : SlicePlaces(characters.size(), start, stop, step)) {
      text += characters[place];
    }
    return in.NewText(std::move(text));
  }
  if (!object.IsList()) FailTypes("a slice", object, start);
  const auto& items = object.AsList().items;
  in.Charge(items.size());
  std::vector<Value> out;
  for (const size_t place : SlicePlaces(items.size(), start, stop, step)) {
    out.push_back(items[place]);
  }
  return Value::MakeList(std::move(out), object.AsList().is_tuple);
}

}  // namespace rondo::jinja
