// Filters: "x | trim" and so on.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_more_filters.h"
#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

using Filter = Value (*)(Interpreter&, const Value& subject, const Arguments&);

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

Value Trim(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("trim", arguments, 1, {"chars"});
  return in.NewText(
      StripText(subject.ToText(), ArgumentOr(arguments, 0, "chars", Value(None{})), true, true));
}

template <std::string (*kMap)(const std::string&)>
Value MapText(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("text filter", arguments, 0);
  return in.NewText(kMap(subject.ToText()));
}

Value Json(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("tojson", arguments, 4, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonFormat format;
  format.ascii = ArgumentOr(arguments, 0, "ensure_ascii", Value(false)).Truthy();
  format.sort_keys = ArgumentOr(arguments, 3, "sort_keys", Value(false)).Truthy();
  const Value indent = ArgumentOr(arguments, 1, "indent", Value(None{}));
  if (!indent.Is<None>()) {
    const bool bad = indent.IsInteger() && (indent.AsInteger() < 0 || indent.AsInteger() > 64);
    if (bad || (!indent.IsInteger() && !indent.IsString())) Fail("tojson with a bad indent");
    format.indent = indent.IsString() ? indent.AsString()
                                      : std::string(static_cast<size_t>(indent.AsInteger()), ' ');
    format.item_separator = ",";
  }
  const Value separators = ArgumentOr(arguments, 2, "separators", Value(None{}));
  if (!separators.Is<None>()) {
    const std::vector<Value> pair = in.Iterate(separators);
    if (pair.size() != 2 || !pair[0].IsString() || !pair[1].IsString()) {
      Fail("tojson with bad separators");
    }
    format.item_separator = pair[0].AsString();
    format.key_separator = pair[1].AsString();
  }
  return in.NewText(ToJson(subject, format));
}

// Letters behind a space, "-", "(", "{", "[" or "<" are capitals.
std::string TitleWords(const std::string& text) {
  std::string out;
  std::string word;
  const auto flush = [&] {
    if (word.empty()) return;
    const auto first = static_cast<size_t>(NextUtf8(word, 0).length);
    out += Upper(word.substr(0, first)) + Lower(word.substr(first));
    word.clear();
  };
  for (const std::string_view character : Characters(text)) {
    const char32_t code = NextUtf8(character, 0).code;
    if (IsPythonSpace(code) ||
        std::string_view("-({[<").find(character) != std::string_view::npos) {
      flush();
      out += character;
    } else {
      word += character;
    }
  }
  flush();
  return out;
}

Value Length(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("length", arguments, 0);
  return Value(static_cast<int64_t>(in.Iterate(subject).size()));
}

Value Default(Interpreter&, const Value& subject, const Arguments& arguments) {
  CheckArguments("default", arguments, 2, {"default_value", "boolean"});
  const bool boolean = ArgumentOr(arguments, 1, "boolean", Value(false)).Truthy();
  const bool missing = subject.IsUndefined() || (boolean && !subject.Truthy());
  return missing ? ArgumentOr(arguments, 0, "default_value", Value("")) : subject;
}

Value Join(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("join", arguments, 2, {"d", "attribute"});
  const std::string separator = ArgumentOr(arguments, 0, "d", Value("")).ToText();
  const Value attribute = ArgumentOr(arguments, 1, "attribute", Value(None{}));
  std::string text;
  bool first = true;
  for (const Value& item : in.Iterate(subject)) {
    const std::string part = (attribute.Is<None>() ? item : AtPath(item, attribute)).ToText();
    text += (first ? "" : separator) + part;
    first = false;
    in.Charge((part.size() + separator.size()) / 16);
  }
  return in.NewText(std::move(text));
}

Value Items(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("items", arguments, 0);
  if (subject.IsUndefined()) return Value::MakeList({});
  if (!subject.IsDict()) Fail("items of something that is no dict");
  return in.Call(GetMethod(subject, "items"), {});
}

// select, reject: (test, argument…); selectattr, rejectattr: (attribute, test, argument…).
template <bool kKeep, bool kAttribute>
Value Select(Interpreter& in, const Value& subject, const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (!arguments.named.empty() || (kAttribute && given.empty())) Fail("bad arguments of a filter");
  constexpr size_t kFirst = kAttribute ? 1 : 0;
  std::string test;
  Arguments rest;
  if (given.size() > kFirst) {
    test = given[kFirst].ToText();
    if (!IsTest(test)) Fail("test '" + test + "' is not supported");
    rest.positional.assign(given.begin() + kFirst + 1, given.end());
  }
  std::vector<Value> kept;
  for (const Value& item : in.Iterate(subject)) {
    const Value value = kAttribute ? AtPath(item, given[0]) : item;
    const bool holds = test.empty() ? value.Truthy() : ApplyTest(test, value, rest);
    if (holds == kKeep) kept.push_back(item);
  }
  return Value::MakeList(std::move(kept));
}

// map(attribute="a", default=…) or map("filter", argument…).
Value Map(Interpreter& in, const Value& subject, const Arguments& arguments) {
  const Value attribute = ArgumentOr(arguments, ~size_t{0}, "attribute", Value());
  std::vector<Value> out;
  if (!attribute.IsUndefined()) {
    CheckArguments("map", arguments, 0, {"attribute", "default"});
    const Value fallback = ArgumentOr(arguments, ~size_t{0}, "default", Value());
    for (const Value& item : in.Iterate(subject)) {
      Value value = AtPath(item, attribute);
      out.push_back(value.IsUndefined() && !fallback.IsUndefined() ? fallback : std::move(value));
    }
    return Value::MakeList(std::move(out));
  }
  if (arguments.positional.empty()) Fail("map without a filter");
  const std::string name = arguments.positional[0].ToText();
  const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()},
                       arguments.named};
  if (name == "map") Fail("map of map is not supported");
  for (const Value& item : in.Iterate(subject)) out.push_back(ApplyFilter(in, name, item, rest));
  return Value::MakeList(std::move(out));
}

template <bool kFirst>
Value End(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments(kFirst ? "first" : "last", arguments, 0);
  const std::vector<Value> items = in.Iterate(subject);
  if (items.empty()) return Value::MakeUndefined(kFirst ? "first item" : "last item");
  return kFirst ? items.front() : items.back();
}

Value MakeList(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("list", arguments, 0);
  return Value::MakeList(in.Iterate(subject));
}

Value Reverse(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("reverse", arguments, 0);
  if (subject.IsString()) {
    return GetSlice(in, subject, Value(None{}), Value(None{}), Value(int64_t{-1}));
  }
  std::vector<Value> items = in.Iterate(subject);
  std::reverse(items.begin(), items.end());
  return Value::MakeList(std::move(items));
}

Value Text(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("string", arguments, 0);
  return in.NewText(subject.ToText());
}

Value Safe(Interpreter&, const Value& subject, const Arguments& arguments) {
  CheckArguments("safe", arguments, 0);
  return subject;  // nothing is escaped anyway
}

Value Replace(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("replace", arguments, 3, {"old", "new", "count"});
  Arguments texts;
  texts.positional = {Value(ArgumentOr(arguments, 0, "old", Value("")).ToText()),
                      Value(ArgumentOr(arguments, 1, "new", Value("")).ToText())};
  const Value count = ArgumentOr(arguments, 2, "count", Value(None{}));
  if (!count.Is<None>()) texts.positional.push_back(count);
  return in.Call(GetMethod(Value(subject.ToText()), "replace"), texts);
}

Value Indent(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("indent", arguments, 3, {"width", "first", "blank"});
  const Value width = ArgumentOr(arguments, 0, "width", Value(int64_t{4}));
  if (width.IsInteger() && (width.AsInteger() < 0 || width.AsInteger() > 256)) {
    Fail("indent with a bad width");
  }
  const std::string margin =
      width.IsInteger() ? std::string(static_cast<size_t>(width.AsInteger()), ' ') : width.ToText();
  const bool first = ArgumentOr(arguments, 1, "first", Value(false)).Truthy();
  const bool blank = ArgumentOr(arguments, 2, "blank", Value(false)).Truthy();
  const std::string text = subject.ToText();
  std::string out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const bool empty = begin == end;
    if (begin == 0 ? first : (!empty || blank)) out += margin;
    out.append(text, begin, end - begin);
    if (end < text.size()) out += '\n';
    in.Charge(1 + margin.size() / 16);
    begin = end + 1;
  }
  return in.NewText(std::move(out));
}

// Python's int("12") with an optional sign; nothing if it is none.
std::optional<int64_t> WholeNumber(std::string text, int base) {
  text = StripText(text, Value(None{}), true, true);
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  int64_t number = 0;
  const auto parsed = std::from_chars(begin, text.data() + text.size(), number, base);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return whole ? std::optional(number) : std::nullopt;
}

std::optional<double> RealNumber(std::string text) {
  text = StripText(text, Value(None{}), true, true);
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  double number = 0;
  const auto parsed = std::from_chars(begin, text.data() + text.size(), number);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return whole ? std::optional(number) : std::nullopt;
}

// "3.7" is 3.
Value Integer(Interpreter&, const Value& subject, const Arguments& arguments) {
  CheckArguments("int", arguments, 2, {"default", "base"});
  if (subject.IsInteger()) return Value(subject.AsInteger());
  const Value fallback = ArgumentOr(arguments, 0, "default", Value(int64_t{0}));
  const Value base = ArgumentOr(arguments, 1, "base", Value(int64_t{10}));
  if (!base.IsInteger() || base.AsInteger() < 2 || base.AsInteger() > 36)
    Fail("int with a bad base");
  std::optional<double> number;
  if (subject.IsNumber()) {
    number = subject.AsNumber();
  } else if (subject.IsString()) {
    const auto whole = WholeNumber(subject.AsString(), static_cast<int>(base.AsInteger()));
    if (whole) return Value(*whole);
    number = RealNumber(subject.AsString());
  }
  const bool fits = number && std::abs(*number) < 9e18;
  return fits ? Value(static_cast<int64_t>(std::trunc(*number))) : fallback;
}

Value Float(Interpreter&, const Value& subject, const Arguments& arguments) {
  CheckArguments("float", arguments, 1, {"default"});
  if (subject.IsNumber()) return Value(subject.AsNumber());
  const auto number = subject.IsString() ? RealNumber(subject.AsString()) : std::nullopt;
  return number ? Value(*number) : ArgumentOr(arguments, 0, "default", Value(0.0));
}

Value Absolute(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("abs", arguments, 0);
  if (!subject.IsNumber()) Fail("abs of something that is no number");
  if (subject.Is<double>()) return Value(std::abs(subject.AsNumber()));
  const bool negative = subject.AsNumber() < 0;
  return negative ? BinaryOperation(in, "-", Value(int64_t{0}), subject) : subject;
}

constexpr std::array kFilters = {
    NamedFilter{"trim", Trim},
    NamedFilter{"upper", MapText<Upper>},
    NamedFilter{"lower", MapText<Lower>},
    NamedFilter{"capitalize", MapText<Capitalize>},
    NamedFilter{"title", MapText<TitleWords>},
    NamedFilter{"tojson", Json},
    NamedFilter{"length", Length},
    NamedFilter{"count", Length},
    NamedFilter{"default", Default},
    NamedFilter{"d", Default},
    NamedFilter{"join", Join},
    NamedFilter{"items", Items},
    NamedFilter{"dictsort", filters::DictSort},
    NamedFilter{"sort", filters::Sort},
    NamedFilter{"unique", filters::Unique},
    NamedFilter{"min", filters::Min},
    NamedFilter{"max", filters::Max},
    NamedFilter{"sum", filters::Sum},
    NamedFilter{"round", filters::Round},
    NamedFilter{"groupby", filters::GroupBy},
    NamedFilter{"batch", filters::Batch},
    NamedFilter{"slice", filters::Slice},
    NamedFilter{"wordcount", filters::WordCount},
    NamedFilter{"format", filters::Format},
    NamedFilter{"center", filters::CenterText},
    NamedFilter{"truncate", filters::Truncate},
    NamedFilter{"attr", filters::Attribute},
    NamedFilter{"select", Select<true, false>},
    NamedFilter{"reject", Select<false, false>},
    NamedFilter{"selectattr", Select<true, true>},
    NamedFilter{"rejectattr", Select<false, true>},
    NamedFilter{"map", Map},
    NamedFilter{"first", End<true>},
    NamedFilter{"last", End<false>},
    NamedFilter{"list", MakeList},
    NamedFilter{"reverse", Reverse},
    NamedFilter{"string", Text},
    NamedFilter{"safe", Safe},
    NamedFilter{"replace", Replace},
    NamedFilter{"indent", Indent},
    NamedFilter{"int", Integer},
    NamedFilter{"float", Float},
    NamedFilter{"abs", Absolute},
};

const NamedFilter* FindFilter(std::string_view name) {
  const auto found = std::find_if(kFilters.begin(), kFilters.end(),
                                  [name](const NamedFilter& f) { return f.name == name; });
  return found == kFilters.end() ? nullptr : &*found;
}

}  // namespace

bool IsFilter(std::string_view name) { return FindFilter(name) != nullptr; }

Value ApplyFilter(Interpreter& in, const std::string& name, const Value& subject,
                  const Arguments& arguments) {
  const NamedFilter* filter = FindFilter(name);
  if (filter == nullptr) Fail("filter '" + name + "' is not supported");
  return filter->filter(in, subject, arguments);
}

Value ArgumentOr(const Arguments& arguments, size_t place, std::string_view name, Value fallback) {
  if (place < arguments.positional.size()) return arguments.positional[place];
  for (const auto& [candidate, value] : arguments.named) {
    if (candidate == name) return value;
  }
  return fallback;
}

void CheckArguments(const std::string& function, const Arguments& arguments, size_t places,
                    std::initializer_list<std::string_view> names) {
  if (arguments.positional.size() > places) Fail("too many arguments for " + function);
  for (const auto& [name, value] : arguments.named) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      Fail(function + " has no argument '" + name + "'");
    }
  }
}

}  // namespace rondo::jinja
