// Values of the template language: what Python objects a chat template can see.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace rondo::jinja {

class Value;
class Interpreter;

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  bool is_group = false;  // of groupby: has .grouper and .list
  int depth = 1;          // levels of nesting, bounded so that nothing recurses too deep
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in order of insertion; keys differ
  int depth = 1;
};

// namespace(): the one object that a template can change. Owned by the interpreter, so that a
// namespace that holds itself is no leak.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// A macro, a method bound to its object, or a global function.
struct Function {
  std::string name;
  std::function<Value(Interpreter&, const Arguments&)> call;
};

struct Undefined {
  std::string name;  // for messages
};
struct None {};

class Value {
 public:
  using Storage =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace*,
                   std::shared_ptr<const Function>>;

  Value() : storage_(Undefined{}) {}
  Value(None none) : storage_(none) {}
  Value(bool value) : storage_(value) {}
  Value(int64_t value) : storage_(value) {}
  Value(double value) : storage_(value) {}
  Value(std::string text) : storage_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Namespace* ns) : storage_(ns) {}
  static Value MakeUndefined(std::string name) {
    return Value(Storage(Undefined{std::move(name)}));
  }
  static Value MakeList(std::vector<Value> items, bool is_tuple = false);
  static Value MakeGroup(Value key, Value members);
  static Value MakeDict(std::vector<std::pair<Value, Value>> items);  // a later equal key wins
  static Value MakeFunction(std::string name,
                            std::function<Value(Interpreter&, const Arguments&)> call);

  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(storage_);
  }
  bool IsString() const { return Is<std::shared_ptr<const std::string>>(); }
  bool IsList() const { return Is<std::shared_ptr<const List>>(); }
  bool IsDict() const { return Is<std::shared_ptr<const Dict>>(); }
  bool IsFunction() const { return Is<std::shared_ptr<const Function>>(); }
  bool IsUndefined() const { return Is<Undefined>(); }
  bool IsInteger() const { return Is<int64_t>() || Is<bool>(); }  // as in Python, bool is an int
  bool IsNumber() const { return IsInteger() || Is<double>(); }

  // The value must be of that kind.
  const std::string& AsString() const { return *std::get<5>(storage_); }
  const List& AsList() const { return *std::get<6>(storage_); }
  const Dict& AsDict() const { return *std::get<7>(storage_); }
  Namespace& AsNamespace() const { return *std::get<8>(storage_); }
  const Function& AsFunction() const { return *std::get<9>(storage_); }
  int64_t AsInteger() const;
  double AsNumber() const;
  const std::string& UndefinedName() const { return std::get<Undefined>(storage_).name; }

  int depth() const;             // 0 for scalars
  const char* TypeName() const;  // Python's
  bool Truthy() const;
  // What {{ … }} prints: str() in Python; "" for an undefined value.
  std::string ToText() const;
  std::string Repr() const;
  bool operator==(const Value& other) const;

  // Member of a dict by key; nullptr if absent.
  const Value* Find(const Value& key) const;

 private:
  explicit Value(Storage storage) : storage_(std::move(storage)) {}
  Storage storage_;
};

struct JsonFormat {
  std::optional<std::string> indent = {};  // of one level; absent: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ascii = false;  // other characters as \u escapes
};
// json.dumps(value). Throws for what JSON cannot hold.
std::string ToJson(const Value& value, const JsonFormat& format);

// Ordering of numbers, strings and lists; throws for other pairs.
bool Less(const Value& a, const Value& b);

// Throws rondo::Error for a faulty template; the caller of the interpreter adds file and line.
[[noreturn]] void Fail(const std::string& problem);

}  // namespace rondo::jinja
