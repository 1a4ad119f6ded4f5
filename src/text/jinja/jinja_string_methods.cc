// Methods of strings.
#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_library.h"
#include "text/jinja/jinja_methods.h"
#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

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

// Words between white space; `most` cuts at most, -1: all.
std::vector<std::string> SplitWords(const std::string& text, int64_t most) {
  std::vector<std::string> parts;
  std::string word;
  size_t at = 0;
  const std::vector<std::string_view> characters = Characters(text);
  const auto is_space = [&](size_t i) { return IsPythonSpace(NextUtf8(characters[i], 0).code); };
  while (true) {
    while (at < characters.size() && is_space(at)) ++at;
    if (at == characters.size()) return parts;
    if (most-- == 0) {
      const auto from = static_cast<size_t>(characters[at].data() - text.data());
      parts.push_back(text.substr(from));
      return parts;
    }
    for (; at < characters.size() && !is_space(at); ++at) word += characters[at];
    parts.push_back(std::exchange(word, {}));
  }
}

// The same, cut from the end.
std::vector<std::string> SplitLastWords(const std::string& text, int64_t most) {
  std::vector<std::string> parts = SplitWords(text, -1);
  if (static_cast<int64_t>(parts.size()) <= most + 1) return parts;
  const size_t kept = parts.size() - static_cast<size_t>(most);
  std::string rest = StripText(text, Value(None{}), false, true);
  for (size_t i = parts.size(); i-- > kept;) {
    rest.resize(rest.size() - parts[i].size());
    rest = StripText(rest, Value(None{}), false, true);
  }
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(kept));
  parts.insert(parts.begin(), rest);
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
    parts = SplitWords(text, most);
  } else {
    parts = SplitLastWords(text, most);
  }
  std::vector<Value> items;
  for (std::string& part : parts) items.emplace_back(std::move(part));
  in.Charge(items.size());
  return Value::MakeList(std::move(items));
}

bool IsLineBreak(char32_t code) {
  return (code >= 0xA && code <= 0xD) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

Value SplitLines(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("splitlines", arguments, 1, {"keepends"});
  const bool keep = ArgumentOr(arguments, 0, "keepends", Value(false)).Truthy();
  const std::string& text = self.AsString();
  std::vector<Value> items;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    const size_t line_end = i;
    i += static_cast<size_t>(step.length);
    if (!IsLineBreak(step.code)) continue;
    if (step.code == '\r' && i < text.size() && text[i] == '\n') ++i;
    items.emplace_back(text.substr(begin, (keep ? i : line_end) - begin));
    begin = i;
  }
  if (begin < text.size()) items.emplace_back(text.substr(begin));
  in.Charge(items.size() + text.size() / 8);
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

// The part of a text that optional start and stop arguments name, as Python's slices do, and the
// number of characters before it.
std::string Part(Interpreter& in, const Value& self, const Arguments& arguments, int64_t* before) {
  const Value start = ArgumentOr(arguments, 1, "start", Value(None{}));
  const Value stop = ArgumentOr(arguments, 2, "end", Value(None{}));
  *before = 0;
  if (start.Is<None>() && stop.Is<None>()) return self.AsString();
  const Value head = GetSlice(in, self, Value(None{}), start, Value(None{}));
  if (!start.Is<None>()) *before = static_cast<int64_t>(Characters(head.AsString()).size());
  return GetSlice(in, self, start, stop, Value(None{})).AsString();
}

// find, rfind, index, rindex: the place in characters.
template <bool kLast, bool kMust>
Value FindText(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("find", arguments, 3);
  int64_t before = 0;
  const std::string text = Part(in, self, arguments, &before);
  const std::string& wanted = TextArgument(arguments, 0);
  const size_t hit = kLast ? text.rfind(wanted) : text.find(wanted);
  if (hit == std::string::npos) {
    if (kMust) Fail("index of a text that is not there");
    return Value(int64_t{-1});
  }
  return Value(before +
               static_cast<int64_t>(Characters(std::string_view(text).substr(0, hit)).size()));
}

Value CountText(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("count", arguments, 3);
  int64_t before = 0;
  const std::string text = Part(in, self, arguments, &before);
  const std::string& wanted = TextArgument(arguments, 0);
  if (wanted.empty()) return Value(static_cast<int64_t>(Characters(text).size() + 1));
  return Value(static_cast<int64_t>(SplitAtText(text, wanted, -1, false).size() - 1));
}

template <bool kRight>
Value Partition(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("partition", arguments, 1);
  const std::string& text = self.AsString();
  const std::string& separator = TextArgument(arguments, 0);
  if (separator.empty()) Fail("partition at an empty string");
  const size_t hit = kRight ? text.rfind(separator) : text.find(separator);
  in.Charge(text.size() / 8);
  if (hit == std::string::npos) {
    return kRight ? Value::MakeList({Value(""), Value(""), Value(text)}, true)
                  : Value::MakeList({Value(text), Value(""), Value("")}, true);
  }
  return Value::MakeList(
      {Value(text.substr(0, hit)), Value(separator), Value(text.substr(hit + separator.size()))},
      true);
}

// ljust, rjust, center.
template <char kAlign>
Value Justify(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("justify", arguments, 2);
  const Value width = ArgumentOr(arguments, 0, "width", Value());
  const std::string fill = ArgumentOr(arguments, 1, "fillchar", Value(" ")).ToText();
  constexpr int64_t kMost = 1 << 16;
  if (!width.IsInteger() || width.AsInteger() > kMost) Fail("a text with a bad width");
  if (Characters(fill).size() != 1) Fail("the fill is not one character");
  const auto columns = static_cast<size_t>(std::max<int64_t>(width.AsInteger(), 0));
  const std::string& text = self.AsString();
  if (kAlign == '^') return in.NewText(Center(text, columns, fill));
  const size_t size = Characters(text).size();
  const std::string pad = Repeated(fill, columns > size ? columns - size : 0);
  return in.NewText(kAlign == '<' ? text + pad : pad + text);
}

Value FillZeros(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("zfill", arguments, 1);
  const Value width = ArgumentOr(arguments, 0, "width", Value());
  if (!width.IsInteger() || width.AsInteger() > 1 << 16) Fail("a text with a bad width");
  std::string text = self.AsString();
  const auto size = static_cast<int64_t>(Characters(text).size());
  const auto zeros = static_cast<size_t>(std::max<int64_t>(width.AsInteger() - size, 0));
  text.insert(text.starts_with('-') || text.starts_with('+') ? 1 : 0, zeros, '0');
  return in.NewText(std::move(text));
}

Value ExpandTabs(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("expandtabs", arguments, 1, {"tabsize"});
  const Value size = ArgumentOr(arguments, 0, "tabsize", Value(int64_t{8}));
  if (!size.IsInteger() || size.AsInteger() > 64) Fail("expandtabs with a bad size");
  in.Charge(self.AsString().size() * static_cast<size_t>(std::max<int64_t>(size.AsInteger(), 1)) /
            16);
  std::string out;
  int64_t column = 0;
  for (const std::string_view character : Characters(self.AsString())) {
    if (character == "\t") {
      const int64_t blanks =
          size.AsInteger() > 0 ? size.AsInteger() - column % size.AsInteger() : 0;
      out.append(static_cast<size_t>(blanks), ' ');
      column += blanks;
    } else {
      out += character;
      column = character == "\n" || character == "\r" ? 0 : column + 1;
    }
  }
  return in.NewText(std::move(out));
}

Value FormatText(Interpreter& in, const Value& self, const Arguments& arguments) {
  return FormatBraces(in, self.AsString(), arguments);
}

// str.isdigit() is true of these besides decimal digits.
bool IsOtherDigit(char32_t code) {
  constexpr char32_t kRanges[][2] = {
      {178, 179},     {185, 185},     {4969, 4977},   {6618, 6618},   {8304, 8304},
      {8308, 8313},   {8320, 8329},   {9312, 9320},   {9332, 9340},   {9352, 9360},
      {9450, 9450},   {9461, 9469},   {9471, 9471},   {10102, 10110}, {10112, 10120},
      {10122, 10130}, {68160, 68163}, {69216, 69224}, {69714, 69722}, {127232, 127242}};
  return std::ranges::any_of(kRanges,
                             [code](const auto& r) { return code >= r[0] && code <= r[1]; });
}

bool IsAsciiCharacter(char32_t code) { return code < 0x80; }
bool IsAnyDigit(char32_t code) { return IsDecimalDigit(code) || IsOtherDigit(code); }

// Whether all characters are of a kind, and there is one.
template <bool (*kIs)(char32_t), bool kEmpty = false>
Value All(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("test of a string", arguments, 0);
  const std::string& text = self.AsString();
  in.Charge(text.size() / 8);
  bool all = kEmpty || !text.empty();
  for (const std::string_view character : Characters(text)) {
    all = all && kIs(NextUtf8(character, 0).code);
  }
  return Value(all);
}

// isupper, islower: no letter of the other case, and one of this.
template <bool kUpper>
Value HasCase(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("test of a string", arguments, 0);
  const std::string& text = self.AsString();
  in.Charge(text.size() / 8);
  const std::string changed = kUpper ? Lower(text) : Upper(text);
  return Value(changed != text && (kUpper ? Upper(text) : Lower(text)) == text);
}

Value IsTitle(Interpreter& in, const Value& self, const Arguments& arguments) {
  CheckArguments("istitle", arguments, 0);
  in.Charge(self.AsString().size() / 4);
  return Value(Title(self.AsString()) == self.AsString() &&
               Lower(self.AsString()) != self.AsString());
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

constexpr NamedMethod kStringMethods[] = {
    {"strip", Strip<true, true>},
    {"lstrip", Strip<true, false>},
    {"rstrip", Strip<false, true>},
    {"upper", MapText<Upper>},
    {"lower", MapText<Lower>},
    {"casefold", nullptr},
    {"capitalize", MapText<Capitalize>},
    {"title", MapText<Title>},
    {"swapcase", MapText<SwapCase>},
    {"startswith", HasEnd<true>},
    {"endswith", HasEnd<false>},
    {"split", Split<false>},
    {"rsplit", Split<true>},
    {"splitlines", SplitLines},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"replace", Replace},
    {"join", Join},
    {"find", FindText<false, false>},
    {"rfind", FindText<true, false>},
    {"index", FindText<false, true>},
    {"rindex", FindText<true, true>},
    {"count", CountText},
    {"removeprefix", RemoveEnd<true>},
    {"removesuffix", RemoveEnd<false>},
    {"ljust", Justify<'<'>},
    {"rjust", Justify<'>'>},
    {"center", Justify<'^'>},
    {"zfill", FillZeros},
    {"expandtabs", ExpandTabs},
    {"format", FormatText},
    {"isalpha", All<IsLetter>},
    {"isalnum", All<IsLetterOrNumber>},
    {"isdigit", All<IsAnyDigit>},
    {"isdecimal", All<IsDecimalDigit>},
    {"isspace", All<IsPythonSpace>},
    {"isascii", All<IsAsciiCharacter, true>},
    {"isupper", HasCase<true>},
    {"islower", HasCase<false>},
    {"istitle", IsTitle},
    {"isnumeric", nullptr},
    {"isidentifier", nullptr},
    {"isprintable", nullptr},
    {"encode", nullptr},
    {"translate", nullptr},
    {"format_map", nullptr},
};

}  // namespace

std::span<const NamedMethod> StringMethods() { return kStringMethods; }

}  // namespace rondo::jinja
