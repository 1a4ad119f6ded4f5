#include "text/jinja/jinja_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "rondo/error.h"
#include "text/unicode/characters.h"
#include "text/unicode/utf8.h"

namespace rondo::jinja {
namespace {

constexpr int kMaxNesting = 64;

int CheckedDepth(int deepest_child) {
  if (deepest_child >= kMaxNesting) Fail("lists and dicts nested too deeply");
  return deepest_child + 1;
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const double magnitude = std::abs(value);
  const bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string text(buffer.data(), end);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

void AppendHexEscape(unsigned char byte, const char* prefix, std::string& out) {
  constexpr char kDigits[] = "0123456789abcdef";
  out += prefix;
  out += kDigits[byte >> 4];
  out += kDigits[byte & 15];
}

void AppendUnicodeEscape(uint32_t unit, std::string& out) {
  AppendHexEscape(static_cast<unsigned char>(unit >> 8), "\\u", out);
  AppendHexEscape(static_cast<unsigned char>(unit & 0xFF), "", out);
}

// Python's repr() of a string, with its choice of quotes.
std::string QuotePython(const std::string& text) {
  const bool double_quotes =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text, i);
    const std::string_view character(text.data() + i, static_cast<size_t>(step.length));
    i += character.size();
    const char c = character[0];
    if (c == quote || c == '\\') {
      out.append("\\") += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(step.code)) {
      out += character;
    } else if (step.code < 0x100) {
      AppendHexEscape(static_cast<unsigned char>(step.code), "\\x", out);
    } else if (step.code < 0x10000) {
      AppendUnicodeEscape(step.code, out);
    } else {
      AppendHexEscape(static_cast<unsigned char>(step.code >> 16), "\\U00", out);
      AppendHexEscape(static_cast<unsigned char>(step.code >> 8), "", out);
      AppendHexEscape(static_cast<unsigned char>(step.code), "", out);
    }
  }
  return out += quote;
}

// JSON text with \u escapes for all but printable ASCII.
std::string OnlyAscii(const std::string& json) {
  std::string out;
  for (size_t i = 0; i < json.size();) {
    const Utf8Step step = NextUtf8(json, i);
    i += static_cast<size_t>(step.length);
    if (step.code < 0x7F) {
      out += static_cast<char>(step.code);
    } else if (step.code < 0x10000) {
      AppendUnicodeEscape(step.code, out);
    } else {
      const uint32_t rest = step.code - 0x10000;
      AppendUnicodeEscape(0xD800 + (rest >> 10), out);
      AppendUnicodeEscape(0xDC00 + (rest & 0x3FF), out);
    }
  }
  return out;
}

std::string QuoteJson(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
    constexpr std::string_view kLetters = "\"\\nrtbf";
    if (const size_t place = kEscaped.find(c); place != std::string_view::npos) {
      out.append("\\") += kLetters[place];
    } else if (byte < 0x20) {
      AppendHexEscape(byte, "\\u00", out);
    } else {
      out += c;
    }
  }
  return out += '"';
}

std::string JsonNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return FloatText(value);
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonFormat& format) : format_(format) {}

  void Write(const Value& value, int level) {
    if (value.Is<None>()) {
      out_ += "null";
    } else if (value.Is<bool>()) {
      out_ += value.AsInteger() != 0 ? "true" : "false";
    } else if (value.IsInteger()) {
      out_ += std::to_string(value.AsInteger());
    } else if (value.IsNumber()) {
      out_ += JsonNumber(value.AsNumber());
    } else if (value.IsString()) {
      out_ += QuoteJson(value.AsString());
    } else if (value.IsList()) {
      WriteList(value.AsList(), level);
    } else if (value.IsDict()) {
      WriteDict(value.AsDict(), level);
    } else {
      Fail(std::string("tojson of ") + value.TypeName());
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  void NewLine(int level) {
    if (!format_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += *format_.indent;
  }

  void Separator(bool first, int level) {
    if (!first) out_ += format_.item_separator;
    NewLine(level);
  }

  void WriteList(const List& list, int level) {
    out_ += '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      Separator(i == 0, level + 1);
      Write(list.items[i], level + 1);
    }
    if (!list.items.empty()) NewLine(level);
    out_ += ']';
  }

  void WriteDict(const Dict& dict, int level) {
    auto items = dict.items;
    if (format_.sort_keys) {
      std::sort(items.begin(), items.end(),
                [](const auto& a, const auto& b) { return Less(a.first, b.first); });
    }
    out_ += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      Separator(i == 0, level + 1);
      const Value& key = items[i].first;
      out_ += QuoteJson(key.IsString() ? key.AsString() : ToJson(key, {})) + format_.key_separator;
      Write(items[i].second, level + 1);
    }
    if (!items.empty()) NewLine(level);
    out_ += '}';
  }

  JsonFormat format_;
  std::string out_;
};

}  // namespace

void Fail(const std::string& problem) {
  throw Error({.function = "ChatTemplate", .problem = problem, .file = {}, .field = {}});
}

Value Value::MakeList(std::vector<Value> items, bool is_tuple) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  List list{std::move(items), is_tuple, false, CheckedDepth(deepest)};
  return Value(Storage(std::make_shared<const List>(std::move(list))));
}

Value Value::MakeGroup(Value key, Value members) {
  List list{{std::move(key), std::move(members)}, true, true, 1};
  list.depth = CheckedDepth(std::max(list.items[0].depth(), list.items[1].depth()));
  return Value(Storage(std::make_shared<const List>(std::move(list))));
}

Value Value::MakeDict(std::vector<std::pair<Value, Value>> items) {
  Dict dict;
  int deepest = 0;
  for (auto& [key, value] : items) {
    if (key.depth() > 0 || key.Is<Namespace*>()) Fail("unhashable key");
    deepest = std::max(deepest, value.depth());
    const auto same = std::find_if(dict.items.begin(), dict.items.end(),
                                   [&k = key](const auto& item) { return item.first == k; });
    if (same == dict.items.end()) {
      dict.items.emplace_back(std::move(key), std::move(value));
    } else {
      same->second = std::move(value);
    }
  }
  dict.depth = CheckedDepth(deepest);
  return Value(Storage(std::make_shared<const Dict>(std::move(dict))));
}

Value Value::MakeFunction(std::string name,
                          std::function<Value(Interpreter&, const Arguments&)> call) {
  Function function{std::move(name), std::move(call)};
  return Value(Storage(std::make_shared<const Function>(std::move(function))));
}

int64_t Value::AsInteger() const {
  return Is<bool>() ? int64_t{std::get<bool>(storage_)} : std::get<int64_t>(storage_);
}

double Value::AsNumber() const {
  return Is<double>() ? std::get<double>(storage_) : static_cast<double>(AsInteger());
}

int Value::depth() const { return IsList() ? AsList().depth : IsDict() ? AsDict().depth : 0; }

const char* Value::TypeName() const {
  constexpr const char* kNames[] = {"undefined", "NoneType", "bool", "int",       "float",
                                    "str",       "list",     "dict", "namespace", "function"};
  return kNames[storage_.index()];
}

bool Value::Truthy() const {
  if (IsUndefined() || Is<None>()) return false;
  if (IsNumber()) return AsNumber() != 0;
  if (IsString()) return !AsString().empty();
  if (IsList()) return !AsList().items.empty();
  if (IsDict()) return !AsDict().items.empty();
  return true;
}

std::string Value::ToText() const {
  if (IsUndefined()) return {};
  return IsString() ? AsString() : Repr();
}

std::string Value::Repr() const {
  if (IsUndefined()) return "Undefined";
  if (Is<None>()) return "None";
  if (Is<bool>()) return AsInteger() != 0 ? "True" : "False";
  if (IsInteger()) return std::to_string(AsInteger());
  if (IsNumber()) return FloatText(AsNumber());
  if (IsString()) return QuotePython(AsString());
  if (IsList()) {
    const List& list = AsList();
    std::string out = list.is_tuple ? "(" : "[";
    for (size_t i = 0; i < list.items.size(); ++i) {
      out += (i == 0 ? "" : ", ") + list.items[i].Repr();
    }
    if (list.is_tuple && list.items.size() == 1) out += ',';
    return out += list.is_tuple ? ')' : ']';
  }
  if (IsDict()) {
    std::string out = "{";
    for (const auto& [key, value] : AsDict().items) {
      out += (out.size() == 1 ? "" : ", ") + key.Repr() + ": " + value.Repr();
    }
    return out += '}';
  }
  Fail(std::string("text of a ") + TypeName());
}

bool Value::operator==(const Value& other) const {
  if (IsNumber() && other.IsNumber()) {
    if (IsInteger() && other.IsInteger()) return AsInteger() == other.AsInteger();
    return AsNumber() == other.AsNumber();
  }
  if (storage_.index() != other.storage_.index()) return false;
  if (IsString()) return AsString() == other.AsString();
  if (IsList()) {
    return AsList().is_tuple == other.AsList().is_tuple && AsList().items == other.AsList().items;
  }
  if (IsDict()) {
    if (AsDict().items.size() != other.AsDict().items.size()) return false;
    return std::all_of(AsDict().items.begin(), AsDict().items.end(), [&](const auto& item) {
      const Value* found = other.Find(item.first);
      return found != nullptr && *found == item.second;
    });
  }
  if (Is<Namespace*>()) return &AsNamespace() == &other.AsNamespace();
  if (IsFunction()) return &AsFunction() == &other.AsFunction();
  return true;  // both undefined or both None
}

const Value* Value::Find(const Value& key) const {
  for (const auto& [candidate, value] : AsDict().items) {
    if (candidate == key) return &value;
  }
  return nullptr;
}

std::string ToJson(const Value& value, const JsonFormat& format) {
  JsonWriter writer(format);
  writer.Write(value, 0);
  return format.ascii ? OnlyAscii(writer.Take()) : writer.Take();
}

bool Less(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsInteger() && b.IsInteger()) return a.AsInteger() < b.AsInteger();
    return a.AsNumber() < b.AsNumber();
  }
  if (a.IsString() && b.IsString()) return a.AsString() < b.AsString();
  if (a.IsList() && b.IsList()) {
    return std::lexicographical_compare(a.AsList().items.begin(), a.AsList().items.end(),
                                        b.AsList().items.begin(), b.AsList().items.end(), Less);
  }
  Fail(std::string("cannot order ") + a.TypeName() + " and " + b.TypeName());
}

}  // namespace rondo::jinja
