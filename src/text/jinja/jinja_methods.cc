// Methods of strings, lists and dicts.
#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

using Method = Value (*)(Interpreter&, const Value& self, const Arguments&);

struct NamedMethod {
  std::string_view name;
  Method method;
};

const std::string& TextArgument(const Arguments& arguments, size_t place) {
  if (place >= arguments.positional.size() || !arguments.positional[place].IsString()) {
    Fail("a string argument is missing");
  }
  return arguments.positional[place].AsString();
}

int64_t CountArgument(const Arguments& arguments, size_t place, std::string_view name) {
  const Value count = ArgumentOr(arguments, place, name, Value(int64_t{-1}));
  if (!count.IsInteger()) Fail("the count is no integer");
  return count.AsInteger();
}

template <bool kLeft, bool kRight>
Value Strip(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("strip", arguments, 1, {"chars"});
  return in.NewText(
      StripText(self.AsString(), ArgumentOr(arguments, 0, "chars", Value(None{})), kLeft, kRight));
}

template <std::string (*kMap)(const std::string&)>
Value MapText(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("string method", arguments, 0);
  return in.NewText(kMap(self.AsString()));
}

// One string or a tuple of them.
template <bool kStart>
Value HasEnd(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments(kStart ? "startswith" : "endswith", arguments, 1);
  const auto has = [&self](const Value& end) {
    if (!end.IsString()) Fail("startswith or endswith of something that is no string");
    return kStart ? self.AsString().starts_with(end.AsString())
                  : self.AsString().ends_with(end.AsString());
  };
  const Value end = ArgumentOr(arguments, 0, "prefix", Value());
  if (!end.IsList()) return Value(has(end));
  return Value(std::any_of(end.AsList().items.begin(), end.AsList().items.end(), has));
}

std::vector<std::string> SplitWords(const std::string& text, int64_t most) {
  std::vector<std::string> parts;
  std::string rest = StripText(text, Value(None{}), true, false);
  while (!rest.empty()) {
    if (most-- == 0) {
      parts.push_back(StripText(rest, Value(None{}), false, true));
      break;
    }
    size_t end = 0;
    for (const std::string_view character : Characters(rest)) {
      if (StripText(std::string(character), Value(None{}), true, false).empty()) break;
      end += character.size();
    }
    parts.push_back(rest.substr(0, end));
    rest = StripText(rest.substr(end), Value(None{}), true, false);
  }
  return parts;
}

std::vector<std::string> SplitAtText(const std::string& text, const std::string& separator,
                                     int64_t most, bool from_right) {
  if (separator.empty()) Fail("split at an empty string");
  std::vector<std::string> parts;
  size_t begin = 0;
  size_t end = text.size();
  while (most-- != 0) {
    const size_t hit =
        from_right ? (end < separator.size() ? std::string::npos
                                             : text.rfind(separator, end - separator.size()))
                   : text.find(separator, begin);
    if (hit == std::string::npos) break;
    if (from_right) {
      parts.push_back(text.substr(hit + separator.size(), end - hit - separator.size()));
      end = hit;
    } else {
      parts.push_back(text.substr(begin, hit - begin));
      begin = hit + separator.size();
    }
  }
  parts.push_back(text.substr(begin, end - begin));
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool kRight>
Value Split(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("split", arguments, 2, {"sep", "maxsplit"});
  const Value separator = ArgumentOr(arguments, 0, "sep", Value(None{}));
  const int64_t most = CountArgument(arguments, 1, "maxsplit");
  const std::string& text = self.AsString();
  in.Charge(text.size() / 4);
  std::vector<std::string> parts;
  if (separator.IsString()) {
    parts = SplitAtText(text, separator.AsString(), most, kRight);
  } else if (!kRight || most < 0) {
    // Words are cut off one by one from a shrinking copy.
    if (text.size() > 1 << 14) Fail("split() at white space of a long text is not supported");
    parts = SplitWords(text, most);
  } else {
    Fail("rsplit() at white space with a count is not supported");
  }
  std::vector<Value> items;
  for (std::string& part : parts) items.emplace_back(std::move(part));
  in.Charge(items.size());
  return Value::MakeList(std::move(items));
}

Value SplitLines(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("splitlines", arguments, 0);
  std::string text = ReplaceText(ReplaceText(self.AsString(), "\r\n", "\n", -1), "\r", "\n", -1);
  if (text.ends_with('\n')) text.pop_back();
  std::vector<Value> items;
  if (!self.AsString().empty()) {
    for (std::string& line : SplitAtText(text, "\n", -1, false))
      items.emplace_back(std::move(line));
  }
  in.Charge(items.size());
  return Value::MakeList(std::move(items));
}

Value Replace(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("replace", arguments, 3, {"count"});
  const std::string& from = TextArgument(arguments, 0);
  const std::string& to = TextArgument(arguments, 1);
  // The result is bounded before it is made.
  in.Charge((self.AsString().size() / std::max<size_t>(from.size(), 1) + 1) * (to.size() / 16 + 1));
  return in.NewText(ReplaceText(self.AsString(), from, to, CountArgument(arguments, 2, "count")));
}

Value Join(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("join", arguments, 1);
  std::string text;
  bool first = true;
  for (const Value& item : in.Iterate(ArgumentOr(arguments, 0, "iterable", Value()))) {
    if (!item.IsString()) Fail("join of something that is no string");
    if (!first) text += self.AsString();
    first = false;
    text += item.AsString();
    in.Charge((self.AsString().size() + item.AsString().size()) / 16);
  }
  return in.NewText(std::move(text));
}

Value FindText(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments("find", arguments, 1);
  const size_t hit = self.AsString().find(TextArgument(arguments, 0));
  if (hit == std::string::npos) return Value(int64_t{-1});
  return Value(
      static_cast<int64_t>(Characters(std::string_view(self.AsString()).substr(0, hit)).size()));
}

Value CountText(Interpreter&, const Value& self, const Arguments& arguments) {
  CheckArguments("count", arguments, 1);
  return Value(static_cast<int64_t>(
      SplitAtText(self.AsString(), TextArgument(arguments, 0), -1, false).size() - 1));
}

template <bool kPrefix>
Value RemoveEnd(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments(kPrefix ? "removeprefix" : "removesuffix", arguments, 1);
  std::string text = self.AsString();
  const std::string& end = TextArgument(arguments, 0);
  if (kPrefix && text.starts_with(end)) text.erase(0, end.size());
  if (!kPrefix && !end.empty() && text.ends_with(end)) text.resize(text.size() - end.size());
  return in.NewText(std::move(text));
}

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

constexpr std::array<NamedMethod, 19> kStringMethods = {{{"strip", Strip<true, true>},
                                                         {"lstrip", Strip<true, false>},
                                                         {"rstrip", Strip<false, true>},
                                                         {"upper", MapText<Upper>},
                                                         {"lower", MapText<Lower>},
                                                         {"capitalize", MapText<Capitalize>},
                                                         {"title", MapText<Title>},
                                                         {"startswith", HasEnd<true>},
                                                         {"endswith", HasEnd<false>},
                                                         {"split", Split<false>},
                                                         {"rsplit", Split<true>},
                                                         {"splitlines", SplitLines},
                                                         {"replace", Replace},
                                                         {"join", Join},
                                                         {"find", FindText},
                                                         {"count", CountText},
                                                         {"removeprefix", RemoveEnd<true>},
                                                         {"removesuffix", RemoveEnd<false>},
                                                         {"format", nullptr}}};
constexpr std::array<NamedMethod, 11> kDictMethods = {{{"items", DictItems},
                                                       {"keys", DictKeys},
                                                       {"values", DictValues},
                                                       {"get", DictGet},
                                                       {"update", Refuse},
                                                       {"pop", Refuse},
                                                       {"popitem", Refuse},
                                                       {"clear", Refuse},
                                                       {"setdefault", Refuse},
                                                       {"copy", nullptr},
                                                       {"fromkeys", nullptr}}};
constexpr std::array<NamedMethod, 9> kListMethods = {{{"index", ListIndex},
                                                      {"count", ListCount},
                                                      {"append", Refuse},
                                                      {"extend", Refuse},
                                                      {"insert", Refuse},
                                                      {"pop", Refuse},
                                                      {"remove", Refuse},
                                                      {"reverse", Refuse},
                                                      {"sort", Refuse}}};

template <size_t kCount>
Value Bind(const std::array<NamedMethod, kCount>& methods, const Value& object,
           const std::string& name) {
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
  if (object.IsString()) return Bind(kStringMethods, object, name);
  if (object.IsDict()) return Bind(kDictMethods, object, name);
  if (object.IsList()) return Bind(kListMethods, object, name);
  return Value::MakeUndefined(name);
}

}  // namespace rondo::jinja
