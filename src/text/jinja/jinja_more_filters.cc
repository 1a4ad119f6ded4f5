#include "text/jinja/jinja_more_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/strings.h"
#include "text/jinja/jinja_interpreter.h"
#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {

Value AtPath(const Value& item, const Value& path) {
  if (!path.IsString()) return GetItem(item, path);
  Value value = item;
  const std::string& text = path.AsString();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    int64_t number = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), number);
    const bool is_number = !part.empty() && parsed.ptr == part.data() + part.size();
    value = GetItem(value, is_number ? Value(number) : Value(part));
    begin = end + 1;
  }
  return value;
}

namespace filters {
namespace {

// What a filter orders by: items, or a part of them, in lower case unless case matters.
class Key {
 public:
  // Places of the arguments; an attribute may list several with commas where `several`.
  Key(const Arguments& arguments, size_t case_place, size_t attribute_place, bool several = false)
      : fold_(!ArgumentOr(arguments, case_place, "case_sensitive", Value(false)).Truthy()),
        default_(ArgumentOr(arguments, ~size_t{0}, "default", Value())) {
    const Value attribute = ArgumentOr(arguments, attribute_place, "attribute", Value(None{}));
    if (attribute.Is<None>()) return;
    if (!several || !attribute.IsString()) {
      paths_.push_back(attribute);
      return;
    }
    for (std::string& part : Split(attribute.AsString(), ',')) paths_.emplace_back(std::move(part));
  }

  Value Of(const Value& item) const {
    if (paths_.empty()) return Fold(item);
    if (paths_.size() == 1) return Fold(Exact(item));
    std::vector<Value> parts;
    for (const Value& path : paths_) parts.push_back(Fold(AtPath(item, path)));
    return Value::MakeList(std::move(parts));
  }
  Value Exact(const Value& item) const {
    Value value = AtPath(item, paths_[0]);
    return value.IsUndefined() && !default_.IsUndefined() ? default_ : value;
  }

 private:
  Value Fold(const Value& value) const {
    return fold_ && value.IsString() ? Value(Lower(value.AsString())) : value;
  }

  bool fold_;
  Value default_;
  std::vector<Value> paths_;
};

struct Keyed {
  Value key;
  Value item;
};

std::vector<Keyed> KeyedItems(Interpreter& in, const Value& subject, const Key& key) {
  std::vector<Keyed> items;
  for (Value& item : in.Iterate(subject)) {
    in.Charge(8);
    Value value = key.Of(item);
    items.push_back({std::move(value), std::move(item)});
  }
  return items;
}

void SortKeyed(std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [reverse](const Keyed& a, const Keyed& b) {
    return reverse ? Less(b.key, a.key) : Less(a.key, b.key);
  });
}

Value ItemsOf(std::vector<Keyed> keyed) {
  std::vector<Value> items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return Value::MakeList(std::move(items));
}

template <bool kLeast>
Value Extreme(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments(kLeast ? "min" : "max", arguments, 2, {"case_sensitive", "attribute"});
  std::vector<Keyed> items = KeyedItems(in, subject, Key(arguments, 0, 1));
  if (items.empty()) return Value::MakeUndefined(kLeast ? "min of nothing" : "max of nothing");
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    const bool better =
        kLeast ? Less(items[i].key, items[best].key) : Less(items[best].key, items[i].key);
    if (better) best = i;
  }
  return items[best].item;
}

size_t CountOf(const Arguments& arguments, const char* name) {
  const Value count = ArgumentOr(arguments, 0, name, Value());
  if (!count.IsInteger() || count.AsInteger() < 1 || count.AsInteger() > 1 << 20) {
    Fail(std::string("a filter needs '") + name + "', 1 or more");
  }
  return static_cast<size_t>(count.AsInteger());
}

}  // namespace

Value DictSort(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("dictsort", arguments, 3, {"case_sensitive", "by", "reverse"});
  const std::string by = ArgumentOr(arguments, 1, "by", Value("key")).ToText();
  if (by != "key" && by != "value") Fail("dictsort by '" + by + "', not by key or value");
  Arguments key;
  key.named = {{"case_sensitive", ArgumentOr(arguments, 0, "case_sensitive", Value(false))},
               {"attribute", Value(int64_t{by == "value"})}};
  const Value items = ApplyFilter(in, "items", subject, {});
  std::vector<Keyed> keyed = KeyedItems(in, items, Key(key, ~size_t{0}, ~size_t{0}));
  SortKeyed(keyed, ArgumentOr(arguments, 2, "reverse", Value(false)).Truthy());
  return ItemsOf(std::move(keyed));
}

Value Sort(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("sort", arguments, 3, {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> items = KeyedItems(in, subject, Key(arguments, 1, 2, true));
  SortKeyed(items, ArgumentOr(arguments, 0, "reverse", Value(false)).Truthy());
  return ItemsOf(std::move(items));
}

Value Unique(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("unique", arguments, 2, {"case_sensitive", "attribute"});
  std::vector<Keyed> kept;
  for (Keyed& entry : KeyedItems(in, subject, Key(arguments, 0, 1))) {
    in.Charge(kept.size() / 4);
    const auto same = [&entry](const Keyed& other) { return other.key == entry.key; };
    if (std::ranges::none_of(kept, same)) kept.push_back(std::move(entry));
  }
  return ItemsOf(std::move(kept));
}

Value Min(Interpreter& in, const Value& subject, const Arguments& arguments) {
  return Extreme<true>(in, subject, arguments);
}

Value Max(Interpreter& in, const Value& subject, const Arguments& arguments) {
  return Extreme<false>(in, subject, arguments);
}

Value Sum(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("sum", arguments, 2, {"attribute", "start"});
  const Value attribute = ArgumentOr(arguments, 0, "attribute", Value(None{}));
  Value sum = ArgumentOr(arguments, 1, "start", Value(int64_t{0}));
  if (sum.IsString()) Fail("sum of strings");
  for (const Value& item : in.Iterate(subject)) {
    sum = BinaryOperation(in, "+", sum, attribute.Is<None>() ? item : AtPath(item, attribute));
  }
  return sum;
}

// Half goes to the even neighbour, as in Python, and by the exact binary value.
Value Round(Interpreter&, const Value& subject, const Arguments& arguments) {
  CheckArguments("round", arguments, 2, {"precision", "method"});
  const Value precision = ArgumentOr(arguments, 0, "precision", Value(int64_t{0}));
  const std::string method = ArgumentOr(arguments, 1, "method", Value("common")).ToText();
  if (!subject.IsNumber()) Fail("round of something that is no number");
  if (!precision.IsInteger() || std::abs(precision.AsInteger()) > 300)
    Fail("round with a bad precision");
  const auto digits = static_cast<int>(precision.AsInteger());
  const double value = subject.AsNumber();
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, digits);
    return Value((method == "ceil" ? std::ceil(value * scale) : std::floor(value * scale)) / scale);
  }
  if (method != "common") Fail("round by '" + method + "', not by common, ceil or floor");
  if (subject.IsInteger() && digits >= 0) return Value(subject.AsInteger());
  if (digits < 0) {
    const double unit = std::pow(10.0, -digits);
    const double rounded = std::nearbyint(value / unit) * unit;
    return subject.IsInteger() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
  }
  char text[720];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return Value(std::strtod(text, nullptr));
}

Value GroupBy(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("groupby", arguments, 3, {"attribute", "default", "case_sensitive"});
  Arguments named;
  named.named = {{"attribute", ArgumentOr(arguments, 0, "attribute", Value(None{}))},
                 {"default", ArgumentOr(arguments, 1, "default", Value())},
                 {"case_sensitive", ArgumentOr(arguments, 2, "case_sensitive", Value(false))}};
  if (named.named[0].second.Is<None>()) Fail("groupby without an attribute");
  const Key key(named, ~size_t{0}, ~size_t{0});
  std::vector<Keyed> items = KeyedItems(in, subject, key);
  SortKeyed(items, false);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < items.size();) {
    std::vector<Value> members;
    size_t end = begin;
    while (end < items.size() && items[end].key == items[begin].key) {
      members.push_back(items[end++].item);
    }
    groups.push_back(
        Value::MakeGroup(key.Exact(items[begin].item), Value::MakeList(std::move(members))));
    begin = end;
  }
  return Value::MakeList(std::move(groups));
}

Value Batch(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("batch", arguments, 2, {"linecount", "fill_with"});
  const size_t count = CountOf(arguments, "linecount");
  const Value fill = ArgumentOr(arguments, 1, "fill_with", Value(None{}));
  std::vector<Value> batches;
  std::vector<Value> batch;
  for (Value& item : in.Iterate(subject)) {
    if (batch.size() == count) batches.push_back(Value::MakeList(std::exchange(batch, {})));
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    in.Charge(count);
    if (!fill.Is<None>()) batch.resize(count, fill);
    batches.push_back(Value::MakeList(std::move(batch)));
  }
  return Value::MakeList(std::move(batches));
}

// Into so many columns; the first ones are longer.
Value Slice(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("slice", arguments, 2, {"slices", "fill_with"});
  const size_t count = CountOf(arguments, "slices");
  const Value fill = ArgumentOr(arguments, 1, "fill_with", Value(None{}));
  const std::vector<Value> items = in.Iterate(subject);
  in.Charge(count);
  const size_t longer = items.size() % count;
  std::vector<Value> columns;
  for (size_t i = 0, begin = 0; i < count; ++i) {
    const size_t size = items.size() / count + (i < longer ? 1 : 0);
    const auto first = items.begin() + static_cast<std::ptrdiff_t>(begin);
    std::vector<Value> column(first, first + static_cast<std::ptrdiff_t>(size));
    if (!fill.Is<None>() && i >= longer) column.push_back(fill);
    columns.push_back(Value::MakeList(std::move(column)));
    begin += size;
  }
  return Value::MakeList(std::move(columns));
}

Value WordCount(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("wordcount", arguments, 0);
  const std::string text = subject.ToText();
  in.Charge(text.size() / 8);
  int64_t words = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    const bool word = step.code == '_' || IsLetterOrNumber(step.code);
    words += word && !inside ? 1 : 0;
    inside = word;
    i += static_cast<size_t>(step.length);
  }
  return Value(words);
}

Value Format(Interpreter& in, const Value& subject, const Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty()) {
    Fail("format with arguments by place and by name");
  }
  if (arguments.named.empty()) {
    return FormatPercent(in, subject.ToText(), Value::MakeList(arguments.positional, true));
  }
  std::vector<std::pair<Value, Value>> items;
  for (const auto& [name, value] : arguments.named) items.emplace_back(Value(name), value);
  return FormatPercent(in, subject.ToText(), Value::MakeDict(std::move(items)));
}

Value CenterText(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("center", arguments, 1, {"width"});
  const Value width = ArgumentOr(arguments, 0, "width", Value(int64_t{80}));
  if (!width.IsInteger() || width.AsInteger() > 1 << 16) Fail("center with a bad width");
  const auto columns = static_cast<size_t>(std::max<int64_t>(width.AsInteger(), 0));
  return in.NewText(Center(subject.ToText(), columns, " "));
}

Value Truncate(Interpreter& in, const Value& subject, const Arguments& arguments) {
  CheckArguments("truncate", arguments, 4, {"length", "killwords", "end", "leeway"});
  const Value length = ArgumentOr(arguments, 0, "length", Value(int64_t{255}));
  const bool killwords = ArgumentOr(arguments, 1, "killwords", Value(false)).Truthy();
  const std::string end = ArgumentOr(arguments, 2, "end", Value("...")).ToText();
  const Value leeway = ArgumentOr(arguments, 3, "leeway", Value(int64_t{5}));
  const std::string text = subject.ToText();
  in.Charge(text.size() / 4);
  const std::vector<std::string_view> characters = Characters(text);
  const auto end_size = static_cast<int64_t>(Characters(end).size());
  if (!length.IsInteger() || length.AsInteger() < end_size || !leeway.IsInteger() ||
      leeway.AsInteger() < 0) {
    Fail("truncate with a bad length or leeway");
  }
  if (static_cast<int64_t>(characters.size()) <= length.AsInteger() + leeway.AsInteger()) {
    return Value(text);
  }
  std::string cut;
  for (int64_t i = 0; i < length.AsInteger() - end_size; ++i)
    cut += characters[static_cast<size_t>(i)];
  const size_t space = cut.rfind(' ');
  if (!killwords && space != std::string::npos) cut.resize(space);
  return in.NewText(cut + end);
}

Value Attribute(Interpreter&, const Value& subject, const Arguments& arguments) {
  CheckArguments("attr", arguments, 1, {"name"});
  const std::string name = ArgumentOr(arguments, 0, "name", Value("")).ToText();
  return subject.IsDict() ? GetMethod(subject, name) : GetAttribute(subject, name);
}

}  // namespace filters
}  // namespace rondo::jinja
