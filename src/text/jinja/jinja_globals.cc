#include "text/jinja/jinja_globals.h"

#include <cstdlib>
#include <ctime>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

Value Range(Interpreter& in, const Arguments& arguments) {
  CheckArguments("range", arguments, 3);
  std::vector<int64_t> numbers;
  for (const Value& value : arguments.positional) {
    if (!value.IsInteger()) Fail("range of something that is no integer");
    numbers.push_back(value.AsInteger());
  }
  if (numbers.empty()) Fail("range without arguments");
  const int64_t start = numbers.size() > 1 ? numbers[0] : 0;
  const int64_t stop = numbers.size() > 1 ? numbers[1] : numbers[0];
  const int64_t step = numbers.size() > 2 ? numbers[2] : 1;
  constexpr int64_t kMost = 100'000;  // items, as in jinja2's sandbox
  constexpr int64_t kBound = int64_t{1} << 40;
  if (step == 0 || std::abs(start) > kBound || std::abs(stop) > kBound || std::abs(step) > kBound) {
    Fail("range with bad arguments");
  }
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() >= size_t{kMost}) Fail("range is too long");
    in.Charge(1);
    items.emplace_back(i);
  }
  return Value::MakeList(std::move(items));
}

Value MakeNamespace(Interpreter& in, const Arguments& arguments) {
  Value out = in.NewNamespace();
  for (const Value& value : arguments.positional) {
    if (!value.IsDict()) Fail("namespace() takes a dict");
    for (const auto& [key, item] : value.AsDict().items) {
      out.AsNamespace().attributes.emplace_back(key.ToText(), item);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    if (name.starts_with('_')) Fail("namespace attribute '" + name + "' is not allowed");
    out.AsNamespace().attributes.emplace_back(name, value);
  }
  return out;
}

Value MakeDictionary(Interpreter&, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> items;
  for (const Value& value : arguments.positional) {
    if (!value.IsDict()) Fail("dict() takes a dict");
    items.insert(items.end(), value.AsDict().items.begin(), value.AsDict().items.end());
  }
  for (const auto& [name, value] : arguments.named) items.emplace_back(Value(name), value);
  return Value::MakeDict(std::move(items));
}

// joiner(", ") says nothing when it is called first, and ", " from then on.
Value MakeJoiner(Interpreter&, const Arguments& arguments) {
  CheckArguments("joiner", arguments, 1, {"sep"});
  const Value separator = ArgumentOr(arguments, 0, "sep", Value(", "));
  const auto used = std::make_shared<bool>(false);
  const auto call = [separator, used](Interpreter&, const Arguments&) {
    return std::exchange(*used, true) ? separator : Value("");
  };
  return Value::MakeFunction("joiner", call);
}

Value RaiseException(Interpreter&, const Arguments& arguments) {
  Fail("the chat template refuses: " + ArgumentOr(arguments, 0, "message", Value("")).ToText());
}

Value StrftimeNow(Interpreter&, const Arguments& arguments) {
  const std::string format = ArgumentOr(arguments, 0, "format", Value("")).ToText();
  if (format.size() > 256) Fail("strftime_now with a long format");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string buffer(8192, '\0');
  buffer.resize(std::strftime(buffer.data(), buffer.size(), format.c_str(), &local));
  return Value(std::move(buffer));
}

}  // namespace

void AddGlobals(std::vector<std::pair<std::string, Value>>& variables) {
  const auto add = [&variables](const char* name,
                                Value (*function)(Interpreter&, const Arguments&)) {
    variables.emplace_back(name, Value::MakeFunction(name, function));
  };
  add("range", Range);
  add("namespace", MakeNamespace);
  add("dict", MakeDictionary);
  add("joiner", MakeJoiner);
  add("raise_exception", RaiseException);
  add("strftime_now", StrftimeNow);
}

Value LoopVariable(const std::vector<Value>& items, size_t index, int64_t depth,
                   const std::shared_ptr<Value>& seen, const Value& recursive) {
  const auto number = [](size_t value) { return Value(static_cast<int64_t>(value)); };
  const size_t count = items.size();
  const auto cycle = [index](Interpreter&, const Arguments& arguments) {
    if (arguments.positional.empty()) Fail("loop.cycle without arguments");
    return arguments.positional[index % arguments.positional.size()];
  };
  // Weak, since what was seen may be the loop itself.
  const auto changed = [weak = std::weak_ptr(seen)](Interpreter&, const Arguments& arguments) {
    const Value now = Value::MakeList(arguments.positional);
    const auto seen = weak.lock();
    if (seen == nullptr) Fail("loop.changed behind its loop");
    if (*seen == now) return Value(false);
    *seen = now;
    return Value(true);
  };
  return Value::MakeDict(
      {{Value("index"), number(index + 1)},
       {Value("depth"), Value(depth + 1)},
       {Value("depth0"), Value(depth)},
       {Value("changed"), Value::MakeFunction("changed", changed)},
       {Value(kLoopCall), recursive},
       {Value("index0"), number(index)},
       {Value("first"), Value(index == 0)},
       {Value("last"), Value(index + 1 == count)},
       {Value("length"), number(count)},
       {Value("revindex"), number(count - index)},
       {Value("revindex0"), number(count - index - 1)},
       {Value("previtem"), index > 0 ? items[index - 1] : Value::MakeUndefined("loop.previtem")},
       {Value("nextitem"),
        index + 1 < count ? items[index + 1] : Value::MakeUndefined("loop.nextitem")},
       {Value("cycle"), Value::MakeFunction("cycle", cycle)}});
}

}  // namespace rondo::jinja
