// Python's two ways to format text: "%05.1f" % x and "{:>5}".format(x).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_library.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

constexpr int64_t kMostColumns = 1 << 12;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// printf of a number; `flags` like "-05.1".
std::string Printf(const std::string& flags, char type, const Value& value) {
  std::string text(static_cast<size_t>(kMostColumns) + 512, '\0');
  const bool real = std::string_view("eEfFgG").find(type) != std::string_view::npos;
  const std::string format = "%" + flags + (real ? "" : "ll") + type;
  const int size = real ? std::snprintf(text.data(), text.size(), format.c_str(), value.AsNumber())
                        : std::snprintf(text.data(), text.size(), format.c_str(),
                                        static_cast<long long>(value.AsInteger()));
  if (size < 0 || static_cast<size_t>(size) >= text.size()) Fail("formatted number too long");
  text.resize(static_cast<size_t>(size));
  return text;
}

Value Truncated(const Value& value) {
  if (!value.Is<double>()) return value;
  if (!(std::abs(value.AsNumber()) < 9e18)) Fail("number too large");
  return Value(static_cast<int64_t>(value.AsNumber()));
}

std::string FirstCharacters(const std::string& text, int64_t count) {
  std::string out;
  for (const std::string_view character : Characters(text)) {
    if (count-- <= 0) break;
    out += character;
  }
  return out;
}

std::string Padded(const std::string& text, int64_t width, char align, const std::string& fill) {
  const auto size = static_cast<int64_t>(Characters(text).size());
  if (size >= width) return text;
  const auto pad = static_cast<size_t>(width - size);
  if (align == '<') return text + Repeated(fill, pad);
  if (align == '>') return Repeated(fill, pad) + text;
  return Repeated(fill, pad / 2) + text + Repeated(fill, pad - pad / 2);
}

class PercentFormat {
 public:
  PercentFormat(Interpreter& in, const std::string& format, const Value& values)
      : in_(in), format_(format), values_(values) {}

  std::string Run() {
    while (at_ < format_.size()) {
      if (format_[at_] != '%') {
        out_ += format_[at_++];
      } else {
        ++at_;
        const size_t before = out_.size();
        Field();
        in_.Charge(1 + (out_.size() - before) / 16);
      }
    }
    const bool tuple = values_.IsList() && values_.AsList().is_tuple;
    if (tuple ? next_ < values_.AsList().items.size() : next_ == 0 && !values_.IsDict()) {
      Fail("not all arguments of a format are used");
    }
    return std::move(out_);
  }

 private:
  char Peek() const { return at_ < format_.size() ? format_[at_] : '\0'; }

  Value Next() {
    if (mapped_) return *std::exchange(mapped_, std::nullopt);
    const bool tuple = values_.IsList() && values_.AsList().is_tuple;
    if (next_ >= (tuple ? values_.AsList().items.size() : 1))
      Fail("too few arguments for a format");
    const size_t place = next_++;
    return tuple ? values_.AsList().items[place] : values_;
  }

  // A number, or "*" for the next argument; -1: neither.
  int64_t Number() {
    if (Peek() == '*') {
      ++at_;
      const Value value = Next();
      if (!value.IsInteger()) Fail("* in a format wants an integer");
      return Checked(value.AsInteger());
    }
    if (!IsDigit(Peek())) return -1;
    int64_t number = 0;
    while (IsDigit(Peek())) number = Checked(number * 10 + (format_[at_++] - '0'));
    return number;
  }

  static int64_t Checked(int64_t number) {
    if (number < 0 || number > kMostColumns) Fail("format with a bad width or precision");
    return number;
  }

  void Field() {
    if (Peek() == '(') {
      const size_t close = format_.find(')', at_);
      if (close == std::string::npos || !values_.IsDict()) Fail("format needs a dict");
      const Value* found = values_.Find(Value(format_.substr(at_ + 1, close - at_ - 1)));
      if (found == nullptr) Fail("format names a missing key");
      mapped_ = *found;
      at_ = close + 1;
    }
    std::string flags;
    while (Peek() != '\0' && std::string_view("-+ #0").find(Peek()) != std::string_view::npos) {
      flags += format_[at_++];
    }
    const int64_t width = Number();
    int64_t precision = -1;
    if (Peek() == '.') {
      ++at_;
      precision = std::max<int64_t>(Number(), 0);
    }
    while (Peek() != '\0' && std::string_view("hlL").find(Peek()) != std::string_view::npos) ++at_;
    const char type = Peek();
    ++at_;
    Convert(type, flags, width, precision);
  }

  void Convert(char type, const std::string& flags, int64_t width, int64_t precision) {
    if (type == '%') {
      out_ += '%';
      return;
    }
    const char align = flags.find('-') != std::string::npos ? '<' : '>';
    if (type == 's' || type == 'r' || type == 'c') {
      std::string text = Text(type, Next());
      if (precision >= 0 && type != 'c') text = FirstCharacters(text, precision);
      out_ += Padded(text, width, align, " ");
      return;
    }
    const Value value = Next();
    const bool whole = type == 'd' || type == 'i' || type == 'u';
    const bool hex = type == 'x' || type == 'X' || type == 'o';
    const bool real =
        std::string_view("eEfFgG").find(type) != std::string_view::npos && type != '\0';
    if (!whole && !hex && !real) Fail(std::string("unsupported format '%") + type + "'");
    if (!value.IsNumber() || (hex && !value.IsInteger())) Fail("format wants a number");
    std::string all = flags;
    if (width >= 0) all += std::to_string(width);
    if (precision >= 0) all += "." + std::to_string(precision);
    if (hex && value.AsInteger() < 0) Fail("format of a negative number in hexadecimal or octal");
    out_ += Printf(all, type == 'u' ? 'd' : type, real ? value : Truncated(value));
  }

  static std::string Text(char type, const Value& value) {
    if (type == 's') return value.ToText();
    if (type == 'r') return value.Repr();
    std::string character;
    if (value.IsInteger() && value.AsInteger() >= 0 && value.AsInteger() < 0x110000) {
      AppendUtf8(static_cast<char32_t>(value.AsInteger()), character);
    } else if (value.IsString() && Characters(value.AsString()).size() == 1) {
      character = value.AsString();
    } else {
      Fail("format '%c' wants a character");
    }
    return character;
  }

  Interpreter& in_;
  const std::string& format_;
  const Value& values_;
  size_t at_ = 0;
  size_t next_ = 0;
  std::optional<Value> mapped_;
  std::string out_;
};

// [[fill]align][sign][#][0][width][,][.precision][type]
struct FieldSpec {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool alternate = false;
  int64_t width = 0;
  char group = '\0';
  int64_t precision = -1;
  char type = '\0';
};

bool IsAlign(std::string_view text) {
  return text.size() == 1 && std::string_view("<>^=").find(text[0]) != std::string_view::npos;
}

FieldSpec ParseSpec(const std::string& text) {
  FieldSpec spec;
  std::vector<std::string_view> rest = Characters(text);
  size_t at = 0;
  const auto is = [&](std::string_view set) {
    return at < rest.size() && rest[at].size() == 1 &&
           set.find(rest[at][0]) != std::string_view::npos;
  };
  const auto number = [&] {
    int64_t value = 0;
    while (is("0123456789")) value = std::min(value * 10 + (rest[at++][0] - '0'), kMostColumns + 1);
    if (value > kMostColumns) Fail("format with a bad width or precision");
    return value;
  };
  if (rest.size() > 1 && IsAlign(rest[1])) {
    spec.fill = rest[0];
    spec.align = rest[1][0];
    at = 2;
  } else if (!rest.empty() && IsAlign(rest[0])) {
    spec.align = rest[at++][0];
  }
  if (is("+- ")) spec.sign = rest[at++][0];
  if (is("#")) spec.alternate = ++at > 0;
  if (is("0")) {
    ++at;
    if (spec.align == '\0') {
      spec.fill = "0";
      spec.align = '=';
    }
  }
  spec.width = number();
  if (is(",_")) spec.group = rest[at++][0];
  if (is(".")) {
    ++at;
    if (!is("0123456789")) Fail("format without a precision");
    spec.precision = number();
  }
  if (is("bcdeEfFgGnosxX%")) spec.type = rest[at++][0];
  if (at != rest.size()) Fail("bad format '" + text + "'");
  return spec;
}

std::string Grouped(const std::string& digits, char separator, size_t size) {
  const size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % size == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(end);
}

std::string Binary(uint64_t number) {
  std::string out;
  do {
    out.insert(out.begin(), static_cast<char>('0' + (number & 1)));
    number >>= 1;
  } while (number > 0);
  return out;
}

// Sign, prefix and digits of a number, not padded yet.
std::string NumberText(const Value& value, const FieldSpec& spec, size_t& prefix) {
  const bool real = value.Is<double>() || std::string_view("eEfFgG%").find(spec.type) < 7;
  std::string digits;
  bool negative = false;
  if (!real) {
    const int64_t number = value.AsInteger();
    negative = number < 0;
    const uint64_t size =
        negative ? uint64_t{0} - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    const char type = spec.type == '\0' || spec.type == 'n' ? 'd' : spec.type;
    if (spec.precision >= 0) Fail("format of an integer with a precision");
    if (std::string_view("dboxX").find(type) == std::string_view::npos)
      Fail("bad format of an integer");
    digits = type == 'd'   ? std::to_string(size)
             : type == 'b' ? Binary(size)
                           : Printf("", type, Value(static_cast<int64_t>(size)));
    if (spec.group != '\0') digits = Grouped(digits, spec.group, type == 'd' ? 3 : 4);
    if (spec.alternate && type != 'd') digits = std::string("0") + type + digits;
  } else {
    double number = value.AsNumber();
    negative = std::signbit(number);
    number = std::abs(number);
    if (spec.type == '\0' || spec.type == 'n') {
      if (spec.precision >= 0) Fail("format of a number with a precision and no type");
      digits = Value(number).ToText();
    } else {
      const bool percent = spec.type == '%';
      const int64_t precision = spec.precision < 0 ? 6 : spec.precision;
      digits = Printf((spec.alternate ? "#." : ".") + std::to_string(precision),
                      percent ? 'f' : spec.type, Value(percent ? number * 100 : number));
      if (percent) digits += '%';
    }
    if (spec.group != '\0') digits = Grouped(digits, spec.group, 3);
  }
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  const bool based = spec.alternate && digits.size() > 2 && digits[0] == '0' && !IsDigit(digits[1]);
  prefix = sign.size() + (based ? 2 : 0);
  return sign + digits;
}

std::string FormatValue(const Value& value, const std::string& text) {
  if (text.empty()) return value.ToText();
  const FieldSpec spec = ParseSpec(text);
  const bool as_number = value.IsNumber() && !(value.Is<bool>() && spec.type == '\0');
  if (!as_number) {
    if (!value.IsString() && !value.Is<bool>())
      Fail(std::string("format of a ") + value.TypeName());
    if (spec.type != '\0' && spec.type != 's') Fail("format of a string as a number");
    if (spec.align == '=' && spec.fill != "0") Fail("'=' in the format of a string");
    std::string out = value.ToText();
    if (spec.precision >= 0) out = FirstCharacters(out, spec.precision);
    const char align = spec.align == '\0' || spec.align == '=' ? '<' : spec.align;
    return Padded(out, spec.width, align, spec.fill);
  }
  size_t prefix = 0;
  const std::string out = NumberText(value, spec, prefix);
  if (spec.align != '=')
    return Padded(out, spec.width, spec.align == '\0' ? '>' : spec.align, spec.fill);
  if (spec.group != '\0' && spec.fill == "0")
    Fail("format with zeros and separators is not supported");
  const auto rest = spec.width - static_cast<int64_t>(prefix);
  return out.substr(0, prefix) + Padded(out.substr(prefix), rest, '>', spec.fill);
}

class BraceFormat {
 public:
  BraceFormat(Interpreter& in, const std::string& format, const Arguments& arguments)
      : in_(in), format_(format), arguments_(arguments) {}

  std::string Run() {
    std::string out;
    while (at_ < format_.size()) {
      const char c = format_[at_];
      const bool twice = at_ + 1 < format_.size() && format_[at_ + 1] == c;
      if ((c == '{' || c == '}') && twice) {
        out += c;
        at_ += 2;
      } else if (c == '{') {
        ++at_;
        const std::string field = Field();
        in_.Charge(1 + field.size() / 16);
        out += field;
      } else if (c == '}') {
        Fail("single '}' in a format");
      } else {
        out += c;
        ++at_;
      }
    }
    return out;
  }

 private:
  std::string Until(std::string_view ends) {
    const size_t end = format_.find_first_of(ends, at_);
    if (end == std::string::npos) Fail("format without '}'");
    std::string text = format_.substr(at_, end - at_);
    at_ = end;
    return text;
  }

  std::string Field() {
    Value value = Lookup(Until("!:}"));
    if (format_[at_] == '!') {
      const char conversion = at_ + 1 < format_.size() ? format_[at_ + 1] : ' ';
      if (conversion != 'r' && conversion != 's') Fail("format with an unknown conversion");
      value = Value(conversion == 'r' ? value.Repr() : value.ToText());
      at_ += 2;
      if (at_ >= format_.size()) Fail("format without '}'");
    }
    std::string spec;
    if (format_[at_] == ':') {
      ++at_;
      spec = Until("{}");
      while (format_[at_] == '{') {
        ++at_;
        spec += Lookup(Until("!:}")).ToText();
        ++at_;
        spec += Until("{}");
      }
    }
    if (format_[at_] != '}') Fail("format without '}'");
    ++at_;
    return FormatValue(value, spec);
  }

  // "0", "name", "" with ".attribute" and "[key]" behind.
  Value Lookup(const std::string& path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    const std::string name = path.substr(0, end);
    Value value;
    if (name.empty() || IsDigit(name[0])) {
      size_t place = next_;
      if (name.empty()) {
        ++next_;
      } else {
        std::from_chars(name.data(), name.data() + name.size(), place);
      }
      if (place >= arguments_.positional.size()) Fail("too few arguments for a format");
      value = arguments_.positional[place];
    } else {
      value = ArgumentOr(arguments_, ~size_t{0}, name, Value());
      if (value.IsUndefined()) Fail("format names '" + name + "', which is missing");
    }
    while (end < path.size()) {
      const bool item = path[end] == '[';
      const size_t close =
          item ? path.find(']', end) : std::min(path.find_first_of(".[", end + 1), path.size());
      if (close == std::string::npos) Fail("format without ']'");
      const std::string part = path.substr(end + 1, close - end - 1);
      int64_t number = 0;
      const auto parsed = std::from_chars(part.data(), part.data() + part.size(), number);
      const bool index = !part.empty() && parsed.ptr == part.data() + part.size();
      value =
          !item ? GetAttribute(value, part) : GetItem(value, index ? Value(number) : Value(part));
      if (value.IsUndefined()) Fail("format names '" + part + "', which is missing");
      end = close + (item ? 1 : 0);
    }
    return value;
  }

  Interpreter& in_;
  const std::string& format_;
  const Arguments& arguments_;
  size_t at_ = 0;
  size_t next_ = 0;
};

}  // namespace

Value FormatPercent(Interpreter& in, const std::string& format, const Value& values) {
  return in.NewText(PercentFormat(in, format, values).Run());
}

Value FormatBraces(Interpreter& in, const std::string& format, const Arguments& arguments) {
  return in.NewText(BraceFormat(in, format, arguments).Run());
}

}  // namespace rondo::jinja
