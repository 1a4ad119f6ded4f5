// Methods of strings, lists and dicts.
#include "text/jinja/jinja_methods.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

Value DictItems(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("items", arguments, 0);
  std::vector<Value> items;
  for (const auto& [key, value] : self.AsDict().items) {
    items.push_back(Value::MakeList({key, value}, true));
  }
  in.Charge(items.size());
  return Value::MakeList(std::move(items));
}

Value DictKeys(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("keys", arguments, 0);
  return Value::MakeList(in.Iterate(self));
}

Value DictValues(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("values", arguments, 0);
  std::vector<Value> items;
  for (const auto& [key, value] : self.AsDict().items) items.push_back(value);
  in.Charge(items.size());
  return Value::MakeList(std::move(items));
}

Value DictGet(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments("get", arguments, 2);
  if (arguments.positional.empty()) Fail("get without a key");
  const Value* found = self.Find(arguments.positional[0]);
  return found != nullptr ? *found : ArgumentOr(arguments, 1, "default", Value(None{}));
}

Value Copy(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments("copy", arguments, 0);
  return self;  // nothing can change it
}

Value ListIndex(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments("index", arguments, 1);
  const auto& items = self.AsList().items;
  const auto found =
      std::find(items.begin(), items.end(), ArgumentOr(arguments, 0, "value", Value()));
  if (found == items.end()) Fail("index of a value that is not in the list");
  return Value(static_cast<int64_t>(found - items.begin()));
}

Value ListCount(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments("count", arguments, 1);
  const auto& items = self.AsList().items;
  return Value(static_cast<int64_t>(
      std::count(items.begin(), items.end(), ArgumentOr(arguments, 0, "value", Value()))));
}

Value Refuse(Interpreter&, const Value&, const Arguments&) {
  Fail("a template may not change its objects");
}

constexpr std::array<NamedMethod, 11> kDictMethods = {{{"items", DictItems},
                                                       {"keys", DictKeys},
                                                       {"values", DictValues},
                                                       {"get", DictGet},
                                                       {"update", Refuse},
                                                       {"pop", Refuse},
                                                       {"popitem", Refuse},
                                                       {"clear", Refuse},
                                                       {"setdefault", Refuse},
                                                       {"copy", Copy},
                                                       {"fromkeys", nullptr}}};
constexpr std::array<NamedMethod, 10> kListMethods = {{{"index", ListIndex},
                                                       {"copy", Copy},
                                                       {"count", ListCount},
                                                       {"append", Refuse},
                                                       {"extend", Refuse},
                                                       {"insert", Refuse},
                                                       {"pop", Refuse},
                                                       {"remove", Refuse},
                                                       {"reverse", Refuse},
                                                       {"sort", Refuse}}};

Value Bind(std::span<const NamedMethod> methods, const Value& object, const std::string& name) {
  for (const NamedMethod& entry : methods) {
    if (entry.name != name) continue;
    if (entry.method == nullptr) Fail("method '" + name + "' is not supported");
    const auto call = [object, method = entry.method](Interpreter& in, const Arguments& arguments) {
      return method(in, object, arguments);
    };
    return Value::MakeFunction(name, call);
  }
  return Value::MakeUndefined(name);
}

}  // namespace

Value GetMethod(const Value& object, const std::string& name) {
  if (object.IsString()) return Bind(StringMethods(), object, name);
  if (object.IsDict()) return Bind(kDictMethods, object, name);
  if (object.IsList()) return Bind(kListMethods, object, name);
  return Value::MakeUndefined(name);
}

}  // namespace rondo::jinja
